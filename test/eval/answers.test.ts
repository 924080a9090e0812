import { describe, expect, it } from 'vitest';
import { hasAnswer, matchable } from '../../lib/eval/index.js';
import { Random } from '../support/random.js';

function matches(passage: string, ...answers: string[]): boolean {
  return hasAnswer(matchable(passage), answers.map(matchable));
}

describe('hasAnswer()', () => {
  it.each<[string, string, string]>([
    ['the same words', 'Paris is the capital of France', 'capital of France'],
    ['another case', 'PARIS is the capital', 'paris'],
    ['composed and decomposed accents', 'Malm\u00f6 in Sweden', 'Malmo\u0308'],
    ['any space between words', 'New\u00a0York\n City', 'new york city'],
    ['control characters between words', 'New\u200bYork', 'New York'],
    ['punctuation with or without spaces', 'in the U.S. in 1912', 'U . S .'],
    ['a hyphen as a word', 'the well-known author', 'well - known'],
    ['an article of the answer', 'on The Rock they met', 'the rock'],
    ['a whole passage', 'Paris', 'Paris'],
    ['the last words', 'it was in 1912', 'in 1912'],
    ['words of other scripts', 'das ist Москва.', 'МОСКВА'],
    ['a final sigma', 'ΟΔΥΣΣΕΥΣ came', 'Οδυσσευς'],
    ['an emoji', 'VS-300 \u{1F681} flew', '\u{1F681}'],
  ])('finds %s', (_, passage, answer) => {
    expect(matches(passage, answer)).toBe(true);
  });

  it.each<[string, string, string]>([
    ['a part of a word', 'the parish church', 'paris'],
    ['the end of a word', 'comparison', 'paris'],
    ['a word without its accent', 'Malm\u00f6 in Sweden', 'Malmo'],
    ['an answer without its article', 'on a rock they met', 'the rock'],
    ['words in another order', 'France capital', 'capital France'],
    ['words that are apart', 'capital city of France', 'capital of France'],
    ['words without the punctuation between', 'in the U.S. in 1912', 'US'],
    ['digits inside a number', 'in 19120', '1912'],
    ['what follows the end', 'it was in', 'in 1912'],
    ['nothing', 'some words', ''],
    ['spaces', 'some words', ' \u00a0\n'],
    ['invisible characters', 'some words', '\u200e'],
    ['anything in an empty passage', '', 'Paris'],
  ])('does not find %s', (_, passage, answer) => {
    expect(matches(passage, answer)).toBe(false);
  });

  it('needs one of the answers, and there may be none', () => {
    expect(matches('Paris is the capital', 'London', '', 'paris')).toBe(true);
    expect(matches('Paris is the capital')).toBe(false);
  });

  it('finds what a search token by token finds', () => {
    const random = new Random(7);
    const characters = [
      'a',
      'A',
      'b',
      'é',
      'e\u0301',
      '1',
      '.',
      '-',
      ' ',
      ' ',
      '\t',
      '\u200b',
      '中',
      '\u{1F681}',
    ];
    const draw = (length: number): string => Array.from({ length }, () => random.pick(characters)).join('');
    let found = 0;
    for (let round = 0; round < 3000; ++round) {
      const passage = draw(random.integer(0, 30));
      const answer = draw(random.integer(0, 3));
      const expected = holdsInTurn(tokensOf(passage), tokensOf(answer));
      expect(matches(passage, answer), JSON.stringify({ passage, answer })).toBe(expected);
      found += Number(expected);
    }
    expect(found).toBeGreaterThan(300);
    expect(found).toBeLessThan(2700);
  });
});

/** DPR's tokens, one code point at a time. */
function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  let isWord = false;
  for (const character of text.normalize('NFD')) {
    if (/[\p{L}\p{N}\p{M}]/u.test(character)) {
      if (isWord) tokens.push(tokens.pop()! + character);
      else tokens.push(character);
      isWord = true;
      continue;
    }
    isWord = false;
    if (!/[\p{Z}\p{C}]/u.test(character)) tokens.push(character);
  }
  return tokens.map((token) => token.toLowerCase());
}

function holdsInTurn(passage: readonly string[], answer: readonly string[]): boolean {
  if (answer.length === 0) return false;
  return passage.some((_, begin) => answer.every((token, idx) => passage[begin + idx] === token));
}
