/** A small uncased WordPiece tokenizer in the files that Hugging Face tools save. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const specialTokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789';
const words = [
  'the',
  'a',
  'of',
  'cell',
  'gene',
  'fox',
  'dog',
  'city',
  'river',
  'quick',
  'brown',
  'lazy',
  'jumps',
];
const pieces = ['##s', '##ing', '##ed', '##er'];

/** `size` entries: special tokens, punctuation, letters and digits alone and as continuations, words, unused ones. */
export function tinyVocabulary(size: number): string[] {
  const characters = Array.from(alphabet);
  const continued = characters.map((character) => `##${character}`);
  const known = [...specialTokens, '.', ',', '?', ...characters, ...continued, ...words, ...pieces];
  const entries = [...new Set(known)].slice(0, size);
  while (entries.length < size) entries.push(`[unused${entries.length}]`);
  return entries;
}

/** Writes vocab.txt, tokenizer_config.json and tokenizer.json. */
export function writeTinyTokenizer(
  directory: string,
  vocabulary: readonly string[],
  maxLength: number,
): void {
  const idOf = (token: string): number => vocabulary.indexOf(token);
  const json = (name: string, value: unknown): void =>
    writeFileSync(join(directory, name), `${JSON.stringify(value, null, 2)}\n`);
  writeFileSync(join(directory, 'vocab.txt'), `${vocabulary.join('\n')}\n`);
  json('tokenizer_config.json', {
    tokenizer_class: 'BertTokenizer',
    do_lower_case: true,
    strip_accents: null,
    tokenize_chinese_chars: true,
    model_max_length: maxLength,
  });
  const piece = (kind: 'SpecialToken' | 'Sequence', id: string, type: number): unknown => ({
    [kind]: { id, type_id: type },
  });
  json('tokenizer.json', {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content) => ({
      id: idOf(content),
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        piece('SpecialToken', '[CLS]', 0),
        piece('Sequence', 'A', 0),
        piece('SpecialToken', '[SEP]', 0),
      ],
      pair: [
        piece('SpecialToken', '[CLS]', 0),
        piece('Sequence', 'A', 0),
        piece('SpecialToken', '[SEP]', 0),
        piece('Sequence', 'B', 1),
        piece('SpecialToken', '[SEP]', 1),
      ],
      special_tokens: Object.fromEntries(
        ['[CLS]', '[SEP]'].map((token) => [token, { id: token, ids: [idOf(token)], tokens: [token] }]),
      ),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries([...vocabulary.entries()].map(([id, token]) => [token, id])),
    },
  });
}
