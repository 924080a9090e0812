import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { fuzzTokenizerJson } from './mutations.js';
import { defaultTokenizerJson } from './peer.js';

describe('Tokenizer.fromJson() with hostile content', () => {
  it('raises a coded error or works, for mutated files', () => {
    const { loaded, refused } = fuzzTokenizerJson(1, 3000);
    expect(loaded).toBeGreaterThan(400);
    expect(refused).toBeGreaterThan(400);
  });

  it.each([
    ['another model', { model: { type: 'BPE' } }, 'UNSUPPORTED', 'model: type'],
    ['another normaliser', { normalizer: { type: 'NFKC' } }, 'UNSUPPORTED', 'normalizer: type'],
    [
      'a chain of normalisers',
      { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFD' }, { type: 'Lowercase' }] } },
      'UNSUPPORTED',
      'normalizer',
    ],
    ['no pre-tokeniser', { pre_tokenizer: null }, 'UNSUPPORTED', 'pre_tokenizer'],
    [
      'another post-processor',
      { post_processor: { type: 'RobertaProcessing' } },
      'UNSUPPORTED',
      'post_processor: type',
    ],
    [
      'no unknown token',
      {
        model: {
          type: 'WordPiece',
          unk_token: '?',
          continuing_subword_prefix: '##',
          max_input_chars_per_word: 100,
          vocab: { a: 0 },
        },
      },
      'INVALID',
      'tokenizer.json',
    ],
    [
      'an id past int32',
      {
        model: {
          type: 'WordPiece',
          unk_token: 'a',
          continuing_subword_prefix: '##',
          max_input_chars_per_word: 100,
          vocab: { a: 2 ** 31 },
        },
      },
      'INVALID',
      'vocab',
    ],
  ])('names the field for %s', (_, change, state, field) => {
    const load = (): Tokenizer =>
      Tokenizer.fromJson({ ...defaultTokenizerJson(), ...change }, 'tokenizer.json');
    const message = expect.stringContaining(field) as string;
    expect(load).toThrow(expect.objectContaining({ code: `ELASTICLM_TOKENIZER_${state}`, message }) as Error);
  });

  it('takes names of the object prototype for ordinary tokens', () => {
    const vocab = JSON.parse('{"[UNK]":0,"__proto__":1,"constructor":2,"_":3,"proto":4}') as Record<
      string,
      number
    >;
    const model = {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    };
    const json = { ...defaultTokenizerJson(), added_tokens: [], post_processor: null, model };
    const tokenizer = Tokenizer.fromJson(json, 'tokenizer.json');
    expect([...tokenizer.encode('constructor toString __proto__').inputIds]).toEqual([2, 0, 3, 3, 4, 3, 3]);
    expect(tokenizer.tokenToId('toString')).toBeUndefined();
  });
});

describe('Tokenizer.encode() of hostile texts', () => {
  const tokenizer = Tokenizer.fromJson(defaultTokenizerJson(), 'tokenizer.json');
  const small = 60_000;

  /** The least of two times, in milliseconds of this process's own: others may be busy. */
  function timeOf(text: string, offsets: boolean): number {
    const times = [0, 1].map(() => {
      const begin = process.cpuUsage();
      tokenizer.encode(text, { offsets });
      return process.cpuUsage(begin).user / 1000;
    });
    return Math.min(...times);
  }

  it.each([
    ['one word', (units: number) => 'a'.repeat(units)],
    ['spaces', (units: number) => ' '.repeat(units)],
    ['stripped marks', (units: number) => 'a' + '\u0301\u0316'.repeat(units / 2)],
    ['marks to be put in order', (units: number) => 'a' + '\u302e\u{1d165}\u1b44\u0301'.repeat(units / 5)],
    ['opening brackets', (units: number) => '['.repeat(units)],
    ['special tokens cut short', (units: number) => '[SE'.repeat(units / 3)],
    ['special tokens', (units: number) => '[SEP]'.repeat(units / 5)],
    ['lone surrogates', (units: number) => '\ud800'.repeat(units)],
    ['ideographs', (units: number) => '中'.repeat(units)],
  ])('takes time in proportion to the length: %s', (_, make) => {
    for (const offsets of [false, true]) {
      const once = timeOf(make(small), offsets);
      const eightfold = timeOf(make(8 * small), offsets);
      // Eight times the text takes eight times as long, 64 times if it were quadratic; 24 leaves room for larger
      // buffers that fall out of caches, 40 ms for a collection of garbage. One step per pair of units, quadratic at
      // its cheapest, would take minutes.
      expect(eightfold).toBeLessThan(24 * once + 40);
    }
  });

  it('reads a long text only as far as its first tokens need', () => {
    const text = 'the protein '.repeat(100_000);
    tokenizer.encode(text, { maxLength: 256 });
    const begin = process.cpuUsage();
    for (let count = 0; count < 20; count++) tokenizer.encode(text, { maxLength: 256 });
    const cut = process.cpuUsage(begin).user / 1000 / 20;
    expect(cut).toBeLessThan(timeOf(text, false) / 5);
  });
});
