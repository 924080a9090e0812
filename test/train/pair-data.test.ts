/** Pairs: what a micro-batch holds, and that nothing that is evaluated on comes in. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ElasticDenser,
  Exclusions,
  loadBeirPairs,
  loadTextPairs,
  mineHardNegatives,
  PairData,
  Tokenizer,
  type TrainBatch,
} from '../../lib/index.js';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';

let scratch: string;
let model: string;
let tokenizer: Tokenizer;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-pairs-'));
  model = join(scratch, 'model');
  writeTinyCheckpoint(model);
  tokenizer = await Tokenizer.load(model);
});

afterAll(() => {
  rmSync(scratch, { recursive: true });
});

/** The texts of a batch, by their tokens. */
function textsOf({ batch, numQueries }: TrainBatch): { queries: string[]; documents: string[] } {
  const texts = Array.from({ length: batch.cuSeqlens.length - 1 }, (_, idx) =>
    Array.from(batch.inputIds.subarray(batch.cuSeqlens[idx]! + 1, batch.cuSeqlens[idx + 1]! - 1), (id) =>
      tokenizer.idToToken(id),
    ).join(' '),
  );
  return { queries: texts.slice(0, numQueries), documents: texts.slice(numQueries) };
}

describe('PairData.batch()', () => {
  it('holds queries, then their documents in the same order, then hard negatives', async () => {
    const data = new PairData(tokenizer, { maxLength: 16, negativesPerPair: 2 });
    const [x, y, z] = ['x', 'y', 'z'].map((text) => data.addText(text));
    data.addPair({ query: data.addText('fox'), document: data.addText('a fox'), negatives: [x!, y!] });
    data.addPair({ query: data.addText('dog'), document: data.addText('a dog'), negatives: [y!, z!] });
    const batch = await data.batch([1, 0], 5);
    expect(batch.numQueries).toBe(2);
    const { queries, documents } = textsOf(batch);
    expect(queries).toEqual(['dog', 'fox']);
    expect(documents.slice(0, 2)).toEqual(['a dog', 'a fox']);
    expect(documents.slice(2).sort()).toEqual(['x', 'y', 'z']);
    const tokens = batch.batch.inputIds.length;
    expect(tokens).toBeLessThanOrEqual(data.length(0) + data.length(1));
  });

  it('leaves out what would be a wrong negative of another pair', async () => {
    const data = new PairData(tokenizer, { maxLength: 16, negativesPerPair: 8 });
    const fox = data.addText('fox');
    const [one, two, other] = ['a fox', 'the fox', 'a dog'].map((text) => data.addText(text));
    const dog = data.addText('dog');
    data.addPair({ query: fox, document: one! });
    data.addPair({ query: fox, document: two! });
    // its hard negative answers another query of the batch
    data.addPair({ query: dog, document: other!, negatives: [two!, one!] });
    data.addPair({ query: data.addText('quick'), document: one! });
    expect(textsOf(await data.batch([0, 1, 2, 3], 1))).toEqual({
      queries: ['fox', 'dog'],
      documents: ['a fox', 'a dog'],
    });
    // without the fox, its documents may be negatives
    expect(
      textsOf(await data.batch([2], 1))
        .documents.slice(1)
        .sort(),
    ).toEqual(['a fox', 'the fox']);
    // a document of a query that is there, though not the one it is paired with
    expect(textsOf(await data.batch([1, 3], 1)).queries).toEqual(['fox']);
  });

  it('draws negatives by seed, a function of positions and seed', async () => {
    const data = new PairData(tokenizer, { maxLength: 16, negativesPerPair: 1 });
    const negatives = Array.from('bcdefghijklm', (letter) => data.addText(letter));
    data.addPair({ query: data.addText('fox'), document: data.addText('a fox'), negatives });
    const drawn = await Promise.all(
      Array.from({ length: 30 }, async (_, seed) => textsOf(await data.batch([0], seed)).documents[1]),
    );
    expect(textsOf(await data.batch([0], 4)).documents[1]).toBe(drawn[4]);
    expect(new Set(drawn).size).toBeGreaterThan(5);
  });
});

describe('loadTextPairs()', () => {
  const passages = [
    { title: 'fox', text: 'The quick fox jumps. A dog jumps too. The river is lazy. The end is x.' },
    { title: 'fox', text: 'Another one of the fox.' },
    { title: '', text: 'One sentence alone' },
    { title: 'dog', text: 'A lazy dog.' },
  ];

  it('pairs each title with the first of its passages', async () => {
    const data = await loadTextPairs(passages, tokenizer, { maxLength: 64 });
    const { queries } = textsOf(await data.batch([0, 1], 1));
    expect(data.size).toBe(2);
    expect(queries).toEqual(['fox', 'dog']);
  });

  it('pairs the halves of a passage, cut between sentences', async () => {
    const data = await loadTextPairs(passages, tokenizer, { maxLength: 64, pairing: 'halves' });
    expect(data.size).toBe(1);
    const whole = tokenizer.encode(passages[0]!.text, { addSpecialTokens: false }).inputIds;
    const { batch } = await data.batch([0], 1);
    const [, cut, end] = batch.cuSeqlens;
    const halves = [...batch.inputIds.subarray(1, cut! - 1), ...batch.inputIds.subarray(cut! + 1, end! - 1)];
    expect(halves).toEqual([...whole]);
    expect(Math.abs(2 * cut! - end!)).toBeLessThan(end! / 2);
  });

  it('leaves out what is excluded', async () => {
    const exclude = new Exclusions();
    exclude.add('dog');
    const data = await loadTextPairs(passages, tokenizer, { maxLength: 64, exclude });
    expect(textsOf(await data.batch([0], 1)).queries).toEqual(['fox']);
    expect(data.size).toBe(1);
  });
});

/** A collection whose dev query q2 and its passage d2 must not be seen; d4 is d2 under another id, q4 is q2. */
function writeCollection(): string {
  const folder = join(scratch, 'collection');
  mkdirSync(join(folder, 'qrels'), { recursive: true });
  const lines = (items: object[]): string => items.map((item) => `${JSON.stringify(item)}\n`).join('');
  const documents: [string, string, string][] = [
    ['d1', '', 'the quick brown fox'],
    ['d2', 'city', 'the river'],
    ['d3', '', 'a lazy dog'],
    ['d4', 'City:', 'The River.'],
    ['d5', '', 'gene of a cell'],
  ];
  writeFileSync(
    join(folder, 'corpus.jsonl'),
    lines(documents.map(([_id, title, text]) => ({ _id, title, text }))),
  );
  writeFileSync(
    join(folder, 'queries.jsonl'),
    lines([
      { _id: 'q1', text: 'fox' },
      { _id: 'q2', text: 'city river' },
      { _id: 'q3', text: 'dog' },
      { _id: 'q4', text: 'City, River?' },
      { _id: 'q5', text: 'x' },
    ]),
  );
  const qrels = (rows: string[]): string => ['query-id\tcorpus-id\tscore', ...rows, ''].join('\n');
  writeFileSync(
    join(folder, 'qrels', 'train.tsv'),
    qrels(['q1\td1\t1', 'q3\td3\t1', 'q3\td2\t1', 'q4\td1\t1', 'q5\td2\t1', 'q1\td5\t0']),
  );
  writeFileSync(join(folder, 'qrels', 'dev.tsv'), qrels(['q2\td2\t1']));
  return folder;
}

describe('loadBeirPairs()', () => {
  it('never shows a held-out query, nor a passage that answers one, under any id', async () => {
    const data = writeCollection();
    await using denser = await ElasticDenser.load(model);
    const pairs = await loadBeirPairs(tokenizer, {
      data,
      maxLength: 32,
      negativesPerPair: 10,
      hardNegatives: { denser, count: 10, skipFirst: 0 },
    });
    expect(pairs.size).toBe(2);
    const { queries, documents } = textsOf(await pairs.batch([0, 1], 1));
    expect(queries).toEqual(['fox', 'dog']);
    expect(documents.sort()).toEqual(['a lazy dog', 'gene of a cell', 'the quick brown fox']);
  });

  it('also keeps out what another collection evaluates on', async () => {
    const exclude = new Exclusions();
    exclude.add('A lazy dog');
    const pairs = await loadBeirPairs(tokenizer, { data: writeCollection(), maxLength: 32, exclude });
    expect(textsOf(await pairs.batch([0], 1)).queries).toEqual(['fox']);
    expect(pairs.size).toBe(1);
  });

  it('is told what is missing', async () => {
    await expectRejection(
      loadBeirPairs(tokenizer, { data: join(scratch, 'none'), maxLength: 32 }),
      'ELASTICLM_FILE_NOT_FOUND',
      /qrels/,
    );
  });
});

describe('mineHardNegatives()', () => {
  const queries = ['the fox', 'a dog', 'gene'];
  const documents = ['the quick fox', 'a brown fox', 'a lazy dog', 'the dog', 'gene of a cell', 'the city'];
  const answers = [[0, 1], [2], []];

  it('gives the best ranked that are no answers, without the first ones', async () => {
    await using denser = await ElasticDenser.load(model);
    const all = await mineHardNegatives(denser, { queries, documents, answers }, { count: 9, skipFirst: 0 });
    expect(all.map((list) => list.length)).toEqual([4, 5, 6]);
    for (const [query, list] of all.entries()) {
      for (const document of list) expect(answers[query]).not.toContain(document);
    }
    const { data } = await denser.encode([...queries, ...documents]);
    const vector = (idx: number): Float32Array => data.subarray(idx * denser.dims, (idx + 1) * denser.dims);
    const score = (query: number, document: number): number =>
      vector(query).reduce((sum, value, i) => sum + value * vector(queries.length + document)[i]!, 0);
    for (const [query, list] of all.entries()) {
      const scores = list.map((document) => score(query, document));
      expect(scores).toEqual([...scores].sort((a, b) => b - a));
    }
    const some = await mineHardNegatives(denser, { queries, documents, answers }, { count: 2, skipFirst: 1 });
    expect(some).toEqual(all.map((list) => list.slice(1, 3)));
  });

  it('finds nothing in nothing', async () => {
    await using denser = await ElasticDenser.load(model);
    expect(await mineHardNegatives(denser, { queries: [], documents, answers: [] })).toEqual([]);
    expect(await mineHardNegatives(denser, { queries: ['fox'], documents: [], answers: [[]] })).toEqual([[]]);
  });
});
