/** Labels, scores and ranked lists from the tasks' own files. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GlueData, RankingData, Tokenizer } from '../../lib/index.js';
import { expectRejection } from '../support/expect-code.js';
import { tinyVocabulary, writeTinyTokenizer } from '../support/tokenizer.js';

let scratch: string;
let tokenizer: Tokenizer;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-labels-'));
  writeTinyTokenizer(scratch, tinyVocabulary(160), 64);
  tokenizer = await Tokenizer.load(scratch);
});

afterAll(() => {
  rmSync(scratch, { recursive: true });
});

function write(folder: string, name: string, rows: readonly string[]): string {
  const path = join(scratch, folder);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, name), rows.map((row) => `${row}\n`).join(''));
  return path;
}

describe('GlueData', () => {
  it('gives sentences with their labels', async () => {
    const data = write('sst2', 'train.tsv', ['sentence\tlabel', 'a quick fox\t1', 'a lazy dog\t0', 'x\t1']);
    const glue = await GlueData.load(tokenizer, { task: 'sst2', data, maxLength: 16 });
    expect([glue.size, glue.isRegression]).toEqual([3, false]);
    const { batch, labels, targets } = await glue.batch([2, 1]);
    expect(labels).toEqual(Int32Array.of(1, 0));
    expect(targets).toBeUndefined();
    expect(batch.inputIds.subarray(batch.cuSeqlens[1])).toEqual(tokenizer.encode('a lazy dog').inputIds);
  });

  it('gives pairs with their scores, the second text of type 1', async () => {
    const header = 'index\tsentence1\tsentence2\tscore';
    const data = write('stsb', 'train.tsv', [header, '0\ta fox\tthe fox\t4.75', '1\ta\tb\t0.5']);
    const glue = await GlueData.load(tokenizer, { task: 'stsb', data, maxLength: 16 });
    const { batch, labels, targets } = await glue.batch([0, 1]);
    expect([glue.isRegression, labels]).toEqual([true, undefined]);
    expect(targets).toEqual(Float32Array.of(4.75, 0.5));
    const { inputIds, tokenTypeIds } = tokenizer.encodePair('a fox', 'the fox');
    expect(batch.inputIds.subarray(0, batch.cuSeqlens[1])).toEqual(inputIds);
    expect(batch.tokenTypeIds.subarray(0, batch.cuSeqlens[1])).toEqual(tokenTypeIds);
    expect(glue.length(0)).toBe(inputIds.length);
  });

  it('tells data of other labels apart', async () => {
    const load = async (folder: string, label: string): Promise<string> => {
      const data = write(folder, 'train.tsv', ['sentence\tlabel', `a fox\t${label}`]);
      const glue = await GlueData.load(tokenizer, { task: 'sst2', data, maxLength: 16 });
      return glue.fingerprint();
    };
    const [one, same, other] = [await load('f1', '1'), await load('f2', '1'), await load('f3', '0')];
    expect(same).toBe(one);
    expect(other).not.toBe(one);
  });

  it('refuses a label that there is not, naming the line', async () => {
    const data = write('bad', 'train.tsv', ['sentence\tlabel', 'a\t1', 'b\t2']);
    await expectRejection(
      GlueData.load(tokenizer, { task: 'sst2', data, maxLength: 16 }),
      'ELASTICLM_DATA_INVALID',
      /line 3 of/,
    );
  });

  it('uses the train split, never another by itself', async () => {
    const data = write('only-dev', 'dev.tsv', ['sentence\tlabel', 'a\t1']);
    await expectRejection(
      GlueData.load(tokenizer, { task: 'sst2', data, maxLength: 16 }),
      'ELASTICLM_FILE_NOT_FOUND',
      /train\.tsv/,
    );
  });
});

describe('RankingData', () => {
  const rows = [
    'question\tsentence\tlabel',
    ...['b', 'c', 'd', 'e', 'f', 'g', 'h'].map((sentence) => `fox\t${sentence}\t${sentence === 'd' ? 1 : 0}`),
    'dog\tno\t0',
    'city\tyes of the city\t1',
    'city\tthe\t0',
  ];

  it('gives lists with their labels, long ones cut to answers and random others', async () => {
    const data = write('wikiqa', 'train.tsv', rows);
    const ranking = await RankingData.load(tokenizer, { data, maxLength: 32, listSize: 4 });
    expect(ranking.size).toBe(2);
    const others = new Set<number>();
    for (let seed = 0; seed < 20; ++seed) {
      const { batch, cuLists, relevance } = await ranking.batch([0, 1], seed);
      expect(cuLists).toEqual(Int32Array.of(0, 4, 6));
      expect(relevance).toEqual(Float32Array.of(1, 0, 0, 0, 1, 0));
      const second = batch.inputIds.subarray(batch.cuSeqlens[0], batch.cuSeqlens[1]);
      expect(second).toEqual(tokenizer.encodePair('fox', 'd').inputIds);
      // [CLS] fox [SEP] letter [SEP]
      for (const list of [1, 2, 3]) others.add(batch.inputIds[batch.cuSeqlens[list]! + 3]!);
      const lengths = ranking.length(0) + ranking.length(1);
      expect(batch.inputIds.length).toBeLessThanOrEqual(lengths);
    }
    expect(others.size).toBe(6);
    expect(await ranking.batch([0], 3)).toEqual(await ranking.batch([0], 3));
  });

  it('keeps questions without an answer when told to', async () => {
    const data = write('wikiqa', 'train.tsv', rows);
    const ranking = await RankingData.load(tokenizer, { data, maxLength: 32, keepUnanswered: true });
    expect(ranking.size).toBe(3);
    expect((await ranking.batch([1], 1)).relevance).toEqual(Float32Array.of(0));
  });
});
