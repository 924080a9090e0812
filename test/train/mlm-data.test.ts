/** Masked language modelling: which tokens are hidden, how, and what stays. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MlmData, TextData, Tokenizer } from '../../lib/index.js';
import { expectCode } from '../support/expect-code.js';
import { tinyVocabulary, writeTinyTokenizer } from '../support/tokenizer.js';

let scratch: string;
let tokenizer: Tokenizer;
let texts: TextData;
let data: MlmData;

const numTexts = 400;
const words = ['fox', 'dog', 'city', 'river', 'quick', 'brown', 'lazy', 'the', 'of', 'a'];

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-mlm-'));
  writeTinyTokenizer(scratch, tinyVocabulary(160), 128);
  tokenizer = await Tokenizer.load(scratch);
  const passages = Array.from({ length: numTexts }, (_, idx) => ({
    title: '',
    // 100 words, one token each
    text: Array.from({ length: 100 }, (_, word) => words[(idx * 7 + word * 3) % words.length]).join(' '),
  }));
  texts = await TextData.load(passages, tokenizer, { maxLength: 128, shares: { passage: 1 } });
  data = new MlmData(texts, tokenizer);
});

afterAll(() => {
  rmSync(scratch, { recursive: true });
});

const positions = Array.from({ length: numTexts }, (_, idx) => idx);

describe('MlmData', () => {
  it('predicts 15% of the words: 80% of them masked, 10% replaced, 10% as they were', async () => {
    const plain = (await texts.batch(positions)).batch.inputIds;
    const { batch, mlmLabels } = await data.batch(positions, 3);
    let predicted = 0;
    const kinds = { masked: 0, kept: 0, replaced: 0 };
    for (const [token, label] of mlmLabels!.entries()) {
      const id = batch.inputIds[token]!;
      if (label < 0) {
        expect(id, `token ${token}`).toBe(plain[token]);
        continue;
      }
      predicted += 1;
      expect(label).toBe(plain[token]);
      expect([tokenizer.clsId, tokenizer.sepId]).not.toContain(label);
      if (id === tokenizer.maskId) kinds.masked += 1;
      else if (id === label) kinds.kept += 1;
      else kinds.replaced += 1;
    }
    expect(predicted).toBe(15 * numTexts);
    // each within five deviations of a binomial; a random id is the same word once in about 155 times
    const deviation = (share: number): number => 5 * Math.sqrt(predicted * share * (1 - share));
    expect(Math.abs(kinds.masked - 0.8 * predicted)).toBeLessThan(deviation(0.8));
    expect(Math.abs(kinds.replaced - 0.1 * (1 - 1 / 155) * predicted)).toBeLessThan(deviation(0.1));
    expect(Math.abs(kinds.kept - (0.1 + 0.1 / 155) * predicted)).toBeLessThan(deviation(0.1));
  });

  it('is a function of positions and seed, and another for another seed', async () => {
    const one = await data.batch([4, 9], 7);
    expect(await data.batch([4, 9], 7)).toEqual(one);
    expect((await data.batch([4, 9], 8)).mlmLabels).not.toEqual(one.mlmLabels);
  });

  it('leaves the texts themselves alone', async () => {
    const before = (await texts.batch([1])).batch.inputIds;
    await data.batch([1], 5);
    expect((await texts.batch([1])).batch.inputIds).toEqual(before);
  });

  it('predicts one word of a short text, and none of an empty one', async () => {
    const short = await TextData.load([{ title: '', text: 'fox dog' }], tokenizer, {
      maxLength: 2, // [CLS] and [SEP] alone
      shares: { passage: 1 },
    });
    expect((await new MlmData(short, tokenizer).batch([0], 1)).mlmLabels).toEqual(Int32Array.of(-1, -1));
    const one = await TextData.load([{ title: '', text: 'fox dog' }], tokenizer, {
      maxLength: 16,
      shares: { passage: 1 },
    });
    const { mlmLabels } = await new MlmData(one, tokenizer).batch([0], 1);
    expect(mlmLabels!.filter((label) => label >= 0)).toHaveLength(1);
  });

  it('refuses a vocabulary without a mask', () => {
    const lines = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'fox'];
    const bare = Tokenizer.fromVocab(lines);
    expectCode(() => new MlmData(texts, bare), 'ELASTICLM_TOKENIZER_UNSUPPORTED', /mask/);
  });
});
