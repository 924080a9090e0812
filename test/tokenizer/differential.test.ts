import { describe, expect, it } from 'vitest';
import type { EncodeOptions } from '../../lib/tokenizer/index.js';
import { defaultTokenizerJson, Differential } from './peer.js';
import type { Input } from './peer.js';
import { Random } from '../support/random.js';
import { generatePair, generateText } from './texts.js';

const SEED = 20240607;

function inputs<T extends Input>(count: number, seed: number, generate: (random: Random) => T): T[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => generate(random));
}

function withNormalizer(normalizer: unknown): unknown {
  return { ...defaultTokenizerJson(), normalizer };
}

describe('Tokenizer.encode() against tokenizers', () => {
  it('gives the same ids, types and offsets for generated texts', async () => {
    const both = new Differential(defaultTokenizerJson());
    expect(await both.differences(inputs(6000, SEED, generateText))).toEqual([]);
  });

  it('gives the same for every choice of the normaliser', async () => {
    const choices = [true, false];
    const texts = inputs(250, SEED + 1, generateText);
    for (const clean_text of choices)
      for (const handle_chinese_chars of choices)
        for (const strip_accents of [true, false, null])
          for (const lowercase of choices) {
            const normalizer = { clean_text, handle_chinese_chars, strip_accents, lowercase };
            const both = new Differential(withNormalizer({ type: 'BertNormalizer', ...normalizer }));
            expect(await both.differences(texts), JSON.stringify(normalizer)).toEqual([]);
          }
  });

  it('gives the same without a normaliser and with one inside a chain', async () => {
    const texts = inputs(500, SEED + 2, generateText);
    const bert = (defaultTokenizerJson() as { normalizer: unknown }).normalizer;
    for (const normalizer of [null, { type: 'Sequence', normalizers: [bert] }]) {
      expect(await new Differential(withNormalizer(normalizer)).differences(texts)).toEqual([]);
    }
  });

  it('gives the same for words around the longest allowed, counted in code points', async () => {
    const both = new Differential(defaultTokenizerJson());
    const texts = ['a', 'é', 'ß', '\u{1d400}', 'a\u0301'].flatMap((part) =>
      [99, 100, 101, 102].flatMap((length) => [part.repeat(length), `the ${part.repeat(length)}, of`]),
    );
    expect(await both.differences(texts)).toEqual([]);
  });

  it('gives the same for marks that canonical ordering moves', async () => {
    const both = new Differential(defaultTokenizerJson());
    const random = new Random(SEED + 3);
    const marks = Array.from(
      '\u0301\u0316\u0334\u302e\u302f\u0344\u1b44\u0f73\u034f\u200b\u{1d165}\u{1d15e}\u{1d16d}\u1ab0\u0947',
    );
    const texts = Array.from({ length: 2000 }, () =>
      Array.from({ length: random.integer(1, 8) }, () =>
        random.pick(random.uniform() < 0.3 ? ['a', 'é', ' '] : marks),
      ).join(''),
    );
    expect(await both.differences(texts)).toEqual([]);
  });
});

describe('Tokenizer.encodePair() against tokenizers', () => {
  it('gives the same for generated pairs', async () => {
    const both = new Differential(defaultTokenizerJson());
    expect(await both.differences(inputs(2000, SEED + 4, generatePair))).toEqual([]);
  });

  it('cuts texts and pairs at the same tokens for every maximum', async () => {
    const both = new Differential(defaultTokenizerJson());
    const lengths: EncodeOptions[] = [];
    for (let maxLength = 3; maxLength <= 24; maxLength++) lengths.push({ maxLength });
    for (const options of lengths) {
      const pairs = inputs(150, SEED + options.maxLength!, generatePair);
      expect(await both.differences([...pairs, ...pairs.flat()], options)).toEqual([]);
    }
  });

  it('leaves special tokens out when told to', async () => {
    const both = new Differential(defaultTokenizerJson());
    const pairs = inputs(300, SEED + 5, generatePair);
    for (const options of [{ addSpecialTokens: false }, { addSpecialTokens: false, maxLength: 5 }]) {
      expect(await both.differences([...pairs, ...pairs.flat()], options)).toEqual([]);
    }
  });
});
