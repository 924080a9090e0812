import { Tokenizer as Peer } from 'tokenizers';
import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { defaultTokenizerJson } from './peer.js';

const CODE_POINTS_PER_TEXT = 64;

/**
 * A vocabulary in which whatever a code point is turned into has ids of its own, inside a word and at its beginning:
 * ids then tell every decomposition and every lower case apart.
 */
function vocabularyOfParts(): Record<string, number> {
  const parts = new Set(['a', 'b']);
  for (let codePoint = 0; codePoint < 0x20000; codePoint++) {
    const char = String.fromCodePoint(codePoint);
    for (const form of [char.normalize('NFD'), char.toLowerCase(), char.normalize('NFD').toLowerCase()]) {
      if (form !== char) for (const part of form) parts.add(part);
    }
  }
  const ids: Record<string, number> = Object.create(null) as Record<string, number>;
  ids['[UNK]'] = 0;
  let id = 1;
  for (const part of parts) {
    if (/\p{Surrogate}/u.test(part)) continue;
    ids[part] = id++;
    ids[`##${part}`] = id++;
  }
  return ids;
}

const vocab = vocabularyOfParts();

/** Each code point between two letters, 64 to a text. */
const texts = Array.from({ length: 0x110000 / CODE_POINTS_PER_TEXT }, (_, text) =>
  Array.from(
    { length: CODE_POINTS_PER_TEXT },
    (_, index) => `a${String.fromCodePoint(text * CODE_POINTS_PER_TEXT + index)}b `,
  ).join(''),
);

async function firstDifference(normalizer: Record<string, unknown>): Promise<string | undefined> {
  const json = {
    ...defaultTokenizerJson(),
    added_tokens: [],
    post_processor: null,
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, ...normalizer },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  };
  const ours = Tokenizer.fromJson(json, 'tokenizer.json');
  const peer = Peer.fromString(JSON.stringify(json));
  const encodings = await peer.encodeBatch(texts);
  for (const [index, text] of texts.entries()) {
    const actual = ours.encode(text).inputIds;
    const expected = encodings[index]!.getIds();
    if (actual.length !== expected.length || actual.some((id, at) => id !== expected[at])) {
      const from = (index * CODE_POINTS_PER_TEXT).toString(16);
      return `from U+${from}: ${actual.join(' ')} instead of ${expected.join(' ')}`;
    }
  }
  return undefined;
}

describe('Tokenizer.encode() for each of the 1,114,112 code points inside a word', () => {
  it('gives the ids of tokenizers, uncased', async () => {
    expect(await firstDifference({ strip_accents: null, lowercase: true })).toBeUndefined();
  });

  it('gives the ids of tokenizers, lower-cased with accents', async () => {
    expect(await firstDifference({ strip_accents: false, lowercase: true })).toBeUndefined();
  });

  it('gives the ids of tokenizers, cased without accents and with control characters', async () => {
    expect(
      await firstDifference({ strip_accents: true, lowercase: false, clean_text: false }),
    ).toBeUndefined();
  });
});
