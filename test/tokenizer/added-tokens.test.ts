import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import { defaultTokenizerJson, Differential } from './peer.js';
import { Random } from '../support/random.js';

interface AddedTokenJson {
  id: number;
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}

// no two are equal once normalised: which one the peer then takes changes from load to load
const contents = [
  '<q>', 'the', 'Éa', '中', ' a', 'a b', '[SEP]x', '<q><q>', '_', '\u0301', 'ſ', '👩', 'of ', '\ufffd', 'İ', '  ',
]; // prettier-ignore
const between = [
  ' ',
  '  ',
  'a',
  'é',
  '\t',
  '_',
  '中',
  '\u0301',
  '',
  '.',
  '\u200b',
  '\ud83d',
  'b',
  '1',
  '\u00a0',
];

/** The default tokenizer with a vocabulary cut to its first 3,000 tokens, which the peer loads faster. */
function smallTokenizer(): { added_tokens: AddedTokenJson[]; model: { vocab: Record<string, number> } } {
  const json = defaultTokenizerJson() as { added_tokens: AddedTokenJson[]; model: { vocab: object } };
  const vocab = Object.fromEntries(Object.entries(json.model.vocab).slice(0, 3000)) as Record<string, number>;
  return { ...json, model: { ...json.model, vocab } };
}

/** A tokenizer with some of the contents added under random rules, with the ids that the peer will give them. */
function tokenizerWithAddedTokens(
  base: ReturnType<typeof smallTokenizer>,
  random: Random,
): { json: unknown; added: AddedTokenJson[] } {
  const { vocab } = base.model;
  let id = Object.keys(vocab).length;
  const added: AddedTokenJson[] = [];
  for (const content of contents) {
    if (random.uniform() < 0.6) continue;
    added.push({
      id: Object.hasOwn(vocab, content) ? vocab[content]! : id++,
      content,
      single_word: random.uniform() < 0.3,
      // the peer aborts on whitespace that strips to the left, and hangs on what normalises to nothing
      lstrip: random.uniform() < 0.3 && content.trim() !== '',
      rstrip: random.uniform() < 0.3,
      normalized: random.uniform() < 0.5 && !['\u0301', '\ufffd'].includes(content),
      special: random.uniform() < 0.3,
    });
  }
  return { json: { ...base, added_tokens: [...base.added_tokens, ...added] }, added };
}

describe('Tokenizer.encode() with added tokens', () => {
  it('finds them as tokenizers does, whatever their rules', async () => {
    const random = new Random(77);
    const base = smallTokenizer();
    for (let round = 0; round < 100; round++) {
      const { json, added } = tokenizerWithAddedTokens(base, random);
      const tokens = added.map(({ content }) => content);
      const parts = [...between, ...tokens, ...tokens.map((token) => token.toUpperCase()), '[SEP]', '[MASK]'];
      const texts = Array.from({ length: 40 }, () =>
        Array.from({ length: random.integer(1, 9) }, () => random.pick(parts)).join(''),
      );
      expect(await new Differential(json).differences(texts), JSON.stringify(added)).toEqual([]);
    }
  });

  it('counts them and finds them by token and by id', () => {
    const base = defaultTokenizerJson() as { added_tokens: AddedTokenJson[] };
    const rules = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };
    const token = { id: 30522, content: '<q>', ...rules };
    const tokenizer = Tokenizer.fromJson(
      { ...base, added_tokens: [...base.added_tokens, token] },
      'tokenizer.json',
    );
    expect(tokenizer.vocabSize).toBe(30523);
    expect(tokenizer.tokenToId('<q>')).toBe(30522);
    expect(tokenizer.idToToken(30522)).toBe('<q>');
    expect(tokenizer.tokenToId('the')).toBe(1996);
    expect(tokenizer.idToToken(1996)).toBe('the');
    expect(tokenizer.tokenToId('no such token')).toBeUndefined();
    expect(tokenizer.idToToken(30523)).toBeUndefined();
  });

  it('refuses ids that tokenizers would not give, and tokens given twice', () => {
    const base = defaultTokenizerJson() as { added_tokens: AddedTokenJson[] };
    const rules = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };
    const load = (...tokens: { id: number; content: string }[]): Tokenizer =>
      Tokenizer.fromJson(
        { ...base, added_tokens: [...base.added_tokens, ...tokens.map((token) => ({ ...token, ...rules }))] },
        'tokenizer.json',
      );
    const invalid = expect.objectContaining({ code: 'ELASTICLM_TOKENIZER_INVALID' }) as Error;
    expect(() => load({ id: 40000, content: '<q>' })).toThrow(invalid);
    expect(() => load({ id: 5, content: 'the' })).toThrow(invalid);
    expect(() => load({ id: 30522, content: '<q>' }, { id: 30522, content: '<q>' })).toThrow(invalid);
    expect(() => load({ id: 30522, content: '<q>' }, { id: 30522, content: '<r>' })).toThrow(invalid);
  });
});
