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
  const vocab: Record<string, number> = Object.create(null) as Record<string, number>;
  vocab['[UNK]'] = 0;
  let id = 1;
  for (const part of parts) {
    if (/\p{Surrogate}/u.test(part)) continue;
    vocab[part] = id++;
    vocab[`##${part}`] = id++;
  }
  return vocab;
}

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
      vocab: vocabularyOfParts(),
    },
  };
  const ours = Tokenizer.fromJson(json, 'tokenizer.json');
  const peer = Peer.fromString(JSON.stringify(json));
  const texts: string[] = [];
  for (let begin = 0; begin < 0x110000; begin += CODE_POINTS_PER_TEXT) {
    let text = '';
    for (let codePoint = begin; codePoint < begin + CODE_POINTS_PER_TEXT; codePoint++) {
      text += `a${String.fromCodePoint(codePoint)}b `;
    }
    texts.push(text);
  }
  const encodings = await peer.encodeBatch(texts);
  for (const [index, text] of texts.entries()) {
    const actual = ours.encode(text).inputIds.join(' ');
    const expected = encodings[index]!.getIds().join(' ');
    if (actual !== expected) {
      return `from U+${(index * CODE_POINTS_PER_TEXT).toString(16)}: ${actual} instead of ${expected}`;
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
