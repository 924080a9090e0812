import { ElasticError } from '../../lib/errors.js';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { Random } from '../support/random.js';

type Json = null | boolean | number | string | Json[] | JsonObject;
interface JsonObject {
  [key: string]: Json;
}

const tokens = '[PAD] [UNK] [CLS] [SEP] [MASK] the a b c ##a ##b ##c ab é 中 of ##ing . , ##'.split(' ');

/** A complete tokenizer small enough to mutate many times a millisecond. */
function seedTokenizer(): Json {
  const rules = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const piece = (kind: string, id: string, type_id: number): Json => ({ [kind]: { id, type_id } });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      { id: 2, content: '[CLS]', special: true, ...rules },
      { id: 3, content: '[SEP]', special: true, ...rules },
      { id: 20, content: '<q>', special: false, ...rules, normalized: true },
    ],
    normalizer: {
      type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true,
    }, // prettier-ignore
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        piece('SpecialToken', '[CLS]', 0),
        piece('Sequence', 'A', 0),
        piece('SpecialToken', '[SEP]', 0),
      ],
      pair: [piece('Sequence', 'A', 0), piece('SpecialToken', '[SEP]', 0), piece('Sequence', 'B', 1)],
      special_tokens: {
        '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
        '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
      },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
}

const names = ['__proto__', 'constructor', 'toString', 'type', 'id', '', '\ud800', '[UNK]', 'length'];

function hostileValue(random: Random, seed: Json): Json {
  const values: (() => Json)[] = [
    () => null,
    () => random.uniform() < 0.5,
    () => random.pick([0, -1, 1.5, 2 ** 31, 2 ** 31 - 1, 2 ** 53, 1e308, -0, 3]),
    () =>
      random.pick([
        ...names,
        ...tokens,
        'Sequence',
        'BPE',
        'Unigram',
        'BertProcessing',
        'RobertaProcessing',
        '\u0301',
      ]),
    () => 'x'.repeat(random.integer(0, 4999)),
    () => [],
    () => ({}),
    () => JSON.parse('{"__proto__": {"type": "WordPiece"}}') as Json,
    () => JSON.parse('['.repeat(500) + ']'.repeat(500)) as Json,
    () => JSON.parse('{"type":"Sequence","normalizers":['.repeat(200) + 'null' + ']}'.repeat(200)) as Json,
    () => random.pick(subtrees(seed)).value,
  ];
  return random.pick(values)();
}

interface Subtree {
  value: Json;
  parent: Json[] | JsonObject;
  key: string;
}

function subtrees(root: Json): Subtree[] {
  const found: Subtree[] = [];
  const visit = (value: Json): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const key of Object.keys(value)) {
      const child = (value as JsonObject)[key]!;
      found.push({ value: child, parent: value, key });
      visit(child);
    }
  };
  visit(root);
  return found;
}

function put(parent: Json[] | JsonObject, key: string, value: Json): void {
  Object.defineProperty(parent, key, { value, writable: true, enumerable: true, configurable: true });
}

/** A tokenizer.json with a few random places replaced, removed, renamed or added to. */
function mutate(random: Random): Json {
  const seed = seedTokenizer();
  const root = structuredClone(seed);
  for (let count = random.integer(1, 3); count > 0; count--) {
    const { value, parent, key } = random.pick(subtrees(root));
    const kind = random.integer(0, 4);
    if (kind <= 1) put(parent, key, hostileValue(random, seed));
    else if (Array.isArray(parent) && kind === 2) parent.splice(Number(key), 1);
    else if (Array.isArray(parent)) parent.push(structuredClone(value));
    else if (kind === 2) Reflect.deleteProperty(parent, key);
    else if (kind === 3) put(parent, random.pick(names), structuredClone(value));
    else put(parent, random.pick([...names, ...tokens]), hostileValue(random, seed));
  }
  return random.uniform() < 0.01 ? hostileValue(random, seed) : root;
}

const texts = ['the ab', 'abcabcabc <Q> [SEP] é中.', '\ud800 x\u0301', 'a'.repeat(200), ''];

/**
 * Loads and uses mutated tokenizers. Each must either raise a coded error or encode every text, the same with and
 * without offsets; how many did which is returned, so that a fuzz that tests nothing shows.
 *
 * @throws the first failure, with the mutated JSON in its message
 */
export function fuzzTokenizerJson(seed: number, cases: number): { loaded: number; refused: number } {
  const random = new Random(seed);
  let loaded = 0;
  let refused = 0;
  for (let index = 0; index < cases; index++) {
    const json = mutate(random);
    try {
      const tokenizer = Tokenizer.fromJson(json, 'tokenizer.json');
      for (const text of texts) {
        const encoding = tokenizer.encode(text, { maxLength: 64 });
        const located = tokenizer.encode(text, { maxLength: 64, offsets: true });
        const pair = tokenizer.encodePair(text, 'the a', { truncation: 'longest_first', maxLength: 64 });
        const ids = [...encoding.inputIds, ...pair.inputIds];
        const inText = Array.from(located.offsets!).every((offset) => offset >= 0 && offset <= text.length);
        if (!ids.every((id) => id >= 0) || encoding.inputIds.join() !== located.inputIds.join() || !inText) {
          throw new Error(`wrong encoding of ${JSON.stringify(text)}`);
        }
      }
      loaded++;
    } catch (cause) {
      if (cause instanceof ElasticError && /^ELASTICLM_(TOKENIZER|ARGUMENT)_/.test(cause.code)) refused++;
      else
        throw new Error(`case ${index} of seed ${seed}: ${JSON.stringify(json).slice(0, 3000)}`, { cause });
    }
  }
  return { loaded, refused };
}
