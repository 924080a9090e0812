import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { defaultTokenizerJson, Differential } from './peer.js';
import { Random } from '../support/random.js';
import { generatePair, generateText } from './texts.js';

const SEED = 4711;

interface BertJson extends Record<string, unknown> {
  normalizer: Record<string, unknown>;
  model: { vocab: Record<string, number> };
}

const base = defaultTokenizerJson() as BertJson;
const lines = Object.entries(base.model.vocab)
  .sort(([, a], [, b]) => a - b)
  .map(([token]) => token);

function inputs(count: number): (string | [string, string])[] {
  const random = new Random(SEED);
  return Array.from({ length: count }, () =>
    random.uniform() < 0.5 ? generateText(random) : generatePair(random),
  );
}

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elasticlm-tokenizer-'));
});
afterEach(() => rm(directory, { recursive: true }));

async function write(files: Record<string, unknown>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

function coded(code: string): Error {
  return expect.objectContaining({ code }) as Error;
}

describe('Tokenizer.load()', () => {
  it('reads tokenizer.json and ignores the truncation and padding saved in it', async () => {
    await write({
      'tokenizer.json': { ...base, truncation: { max_length: 4, strategy: 'LongestFirst', stride: 0 } },
    });
    const tokenizer = await Tokenizer.load(directory);
    expect(await new Differential(base, tokenizer).differences(inputs(200))).toEqual([]);
    expect(tokenizer).toMatchObject({
      vocabSize: 30522,
      unkId: 100,
      padId: 0,
      clsId: 101,
      sepId: 102,
      maskId: 103,
    });
    expect(tokenizer.modelMaxLength).toBeUndefined();
  });

  it.each([
    ['uncased', {}, { lowercase: true, strip_accents: null }],
    ['cased', { do_lower_case: false }, { lowercase: false, strip_accents: null }],
    ['lower case with accents', { strip_accents: false }, { lowercase: true, strip_accents: false }],
    [
      'ideographs in words',
      { tokenize_chinese_chars: false },
      { lowercase: true, handle_chinese_chars: false },
    ],
  ])('reads vocab.txt with tokenizer_config.json: %s', async (_, config, normalizer) => {
    await write({
      'vocab.txt': lines.join('\n') + '\n',
      'tokenizer_config.json': { model_max_length: 512, ...config },
    });
    const tokenizer = await Tokenizer.load(directory);
    const json = { ...base, normalizer: { ...base.normalizer, ...normalizer } };
    expect(await new Differential(json, tokenizer).differences(inputs(500))).toEqual([]);
    expect(tokenizer).toMatchObject({ vocabSize: 30522, padId: 0, modelMaxLength: 512 });
  });

  it('reads Windows line ends, tokens given twice, and added tokens', async () => {
    const vocab = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'b', 'a', 'b'];
    await write({ 'vocab.txt': vocab.join('\r\n'), 'added_tokens.json': { '<q>': 7, __proto__x: 8 } });
    const tokenizer = await Tokenizer.load(directory);
    expect([...tokenizer.encode('a b<q>').inputIds]).toEqual([2, 6, 7, 7, 3]);
  });

  it('reads names of special tokens from special_tokens_map.json', async () => {
    await write({
      'vocab.txt': '<pad>\n<unk>\n<s>\n</s>\na',
      'special_tokens_map.json': {
        pad_token: '<pad>',
        unk_token: { content: '<unk>' },
        cls_token: '<s>',
        sep_token: '</s>',
      },
    });
    const tokenizer = await Tokenizer.load(directory);
    expect([...tokenizer.encode('a z').inputIds]).toEqual([2, 4, 1, 3]);
    expect(tokenizer).toMatchObject({ padId: 0, unkId: 1, clsId: 2, sepId: 3, maskId: undefined });
  });

  it.each([
    ['no files', {}, 'ELASTICLM_FILE_NOT_FOUND'],
    ['cut JSON', { 'tokenizer.json': '{"model":' }, 'ELASTICLM_TOKENIZER_INVALID'],
    ['JSON that is no object', { 'tokenizer.json': '3' }, 'ELASTICLM_TOKENIZER_INVALID'],
    ['an empty vocabulary', { 'vocab.txt': '' }, 'ELASTICLM_TOKENIZER_INVALID'],
    ['a vocabulary without [CLS]', { 'vocab.txt': '[UNK]\n[SEP]\n[PAD]' }, 'ELASTICLM_TOKENIZER_INVALID'],
    [
      'a broken tokenizer_config.json',
      { 'vocab.txt': '[UNK]', 'tokenizer_config.json': '[' },
      'ELASTICLM_TOKENIZER_INVALID',
    ],
  ])('raises a coded error for %s', async (_, files, code) => {
    await write(files);
    await expect(Tokenizer.load(directory)).rejects.toThrow(coded(code));
  });

  it('raises a coded error for bytes that are not UTF-8', async () => {
    await writeFile(join(directory, 'vocab.txt'), Buffer.from([0xff, 0xfe, 0x41]));
    await expect(Tokenizer.load(directory)).rejects.toThrow(coded('ELASTICLM_TOKENIZER_INVALID'));
  });
});

describe('Tokenizer.idToToken() and tokenToId()', () => {
  it('find each token of the vocabulary by its id and the other way round, and no others', () => {
    const tokenizer = Tokenizer.fromJson(base, 'tokenizer.json');
    for (const [id, token] of lines.entries()) expect(tokenizer.tokenToId(token)).toBe(id);
    for (let id = 0; id < lines.length; id += 13) expect(tokenizer.idToToken(id)).toBe(lines[id]);
    for (const id of [-1, 0.5, NaN, lines.length, 2 ** 32]) expect(tokenizer.idToToken(id)).toBeUndefined();
    for (const token of ['', 'th\u00e9', '##', '#\ufffd']) expect(tokenizer.tokenToId(token)).toBeUndefined();
  });
});

describe('Tokenizer.fromJson() with other templates', () => {
  const special = {
    '[CLS]': { id: '[CLS]', ids: [101], tokens: ['[CLS]'] },
    X: { id: 'X', ids: [5, 6], tokens: ['a', 'b'] },
  };
  const piece = (kind: string, id: string, type_id: number): unknown => ({ [kind]: { id, type_id } });

  it.each([
    ['none', null],
    ['BertProcessing', { type: 'BertProcessing', sep: ['[SEP]', 102], cls: ['[CLS]', 101] }],
    [
      'several special tokens, the second text first',
      {
        type: 'TemplateProcessing',
        single: [piece('SpecialToken', 'X', 2), piece('Sequence', 'A', 1), piece('SpecialToken', '[CLS]', 0)],
        pair: [piece('Sequence', 'B', 3), piece('SpecialToken', 'X', 1), piece('Sequence', 'A', 0)],
        special_tokens: special,
      },
    ],
  ])('gives what tokenizers gives: %s', async (_, post_processor) => {
    const both = new Differential({ ...base, post_processor });
    const texts = inputs(200);
    for (const options of [{}, { maxLength: 9 }, { addSpecialTokens: false }]) {
      expect(await both.differences(texts, options)).toEqual([]);
    }
  });
});

describe('Tokenizer.encode() with a bound', () => {
  const tokenizer = Tokenizer.fromJson(base, 'tokenizer.json');

  it('cuts the text that the strategy names', () => {
    const encode = (truncation: 'only_first' | 'only_second', first: string, second: string): string =>
      tokenizer.encodePair(first, second, { maxLength: 8, truncation }).tokenTypeIds.join('');
    expect(encode('only_first', 'a b c d e f', 'a b')).toBe('00000111');
    expect(encode('only_second', 'a b', 'a b c d e f')).toBe('00001111');
  });

  it('raises ELASTICLM_TEXT_TOO_LONG when nothing may give way, and only then', () => {
    const tooLong = coded('ELASTICLM_TEXT_TOO_LONG');
    const whole = { truncation: 'do_not_truncate', maxLength: 6 } as const;
    expect(tokenizer.encode('a b c d', whole).inputIds).toHaveLength(6);
    expect(() => tokenizer.encode('a b c d e', whole)).toThrow(tooLong);
    expect(() => tokenizer.encode('a b c d e', { ...whole, addSpecialTokens: false, maxLength: 4 })).toThrow(
      tooLong,
    );
    expect(() => tokenizer.encodePair('a b', 'c d', whole)).toThrow(tooLong);
    expect(() => tokenizer.encodePair('a', 'b c d e', { truncation: 'only_first', maxLength: 6 })).toThrow(
      tooLong,
    );
    expect(() => tokenizer.encode('a b c d e', { truncation: 'only_second', maxLength: 6 })).toThrow(tooLong);
  });

  it('raises ELASTICLM_ARGUMENT_INVALID for arguments of the wrong kind', () => {
    const invalid = coded('ELASTICLM_ARGUMENT_INVALID');
    expect(() => tokenizer.encode(undefined as unknown as string)).toThrow(invalid);
    expect(() => tokenizer.encodePair('a', 3 as unknown as string)).toThrow(invalid);
    expect(() => tokenizer.encode('a', { maxLength: 1 })).toThrow(invalid);
    expect(() => tokenizer.encode('a', { maxLength: 5.5 })).toThrow(invalid);
    expect(() => tokenizer.encode('a', { truncation: 'longest' as 'longest_first' })).toThrow(invalid);
  });

  it('gives the same ids from a fresh tokenizer as from one that has seen many words', () => {
    const random = new Random(SEED);
    const used = Tokenizer.fromJson(base, 'tokenizer.json');
    const words = Array.from(
      { length: 60_000 },
      () => random.pick(lines).replace('##', '') + random.pick(lines),
    );
    for (const word of words) used.encode(word);
    for (const word of words.slice(0, 300)) {
      const fresh = used.encode(word, { offsets: true }); // offsets never come from the cache of words
      expect(used.encode(word).inputIds).toEqual(fresh.inputIds);
    }
  });
});
