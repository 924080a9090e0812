import { ElasticError } from '../errors.js';
import { unicodeData } from './unicode-data.js';

/**
 * Character properties as Hugging Face `tokenizers` sees them, one bit each in `codePointFlags()`. `nonspacing` and
 * `combining` are never set together with `decomposed`: a decomposition's parts do not decompose further.
 */
export const charFlag = {
  removed: 1,
  whitespace: 2,
  punctuation: 4,
  ideograph: 8,
  nonspacing: 16,
  decomposed: 32,
  lowered: 64,
  combining: 128,
} as const;

/** What a lone surrogate counts as, as in every conversion from UTF-16 to UTF-8. */
export const REPLACEMENT = 0xfffd;
export const SPACE = 0x20;

interface CodePointTables {
  /** [0x110000] bits of `charFlag` */
  flags: Uint8Array;
  /** rank of the canonical combining class of each code point that has a non-zero one; ranks rise with classes */
  combiningRanks: Map<number, number>;
}

let tables: CodePointTables | undefined;

/** [0x110000] bits of `charFlag` by code point, built once per process. */
export function codePointFlags(): Uint8Array {
  return codePointTables().flags;
}

/** Rank of a code point's canonical combining class, 0 for a starter. */
export function combiningRank(codePoint: number): number {
  return codePointTables().combiningRanks.get(codePoint) ?? 0;
}

/** The full canonical decomposition of one code point that has one, Hangul syllables included. */
export function decompose(codePoint: number): number[] {
  return codePointsOf(String.fromCodePoint(codePoint).normalize('NFD'));
}

/** Lower case of one code point on its own: never the final sigma, which depends on the letters around it. */
export function lowerCase(codePoint: number): number[] {
  return codePointsOf(String.fromCodePoint(codePoint).toLowerCase());
}

/** The code point that begins at a UTF-16 position; a surrogate without its partner before `end` is U+FFFD. */
export function codePointAt(text: string, position: number, end: number): number {
  const unit = text.charCodeAt(position);
  if (unit < 0xd800 || unit > 0xdfff) return unit;
  if (unit > 0xdbff || position + 1 >= end) return REPLACEMENT;
  const next = text.charCodeAt(position + 1);
  return next >= 0xdc00 && next <= 0xdfff ? joinSurrogates(unit, next) : REPLACEMENT;
}

export function joinSurrogates(high: number, low: number): number {
  return (high - 0xd800) * 0x400 + (low - 0xdc00) + 0x10000;
}

function codePointTables(): CodePointTables {
  if (tables !== undefined) return tables;
  if ('\u00e9'.normalize('NFD').length !== 2) {
    throw ElasticError.of('ELASTICLM_TOKENIZER_UNSUPPORTED', {
      expected: 'Unicode normalisation',
      subject: 'this Node',
      received: 'a build without Intl',
      remedy: 'Use an official build of Node',
    });
  }
  const flags = new Uint8Array(0x110000);
  const mark = (runs: string, bit: number): void =>
    eachRun(runs, (begin, end) => {
      for (let codePoint = begin; codePoint < end; codePoint++) flags[codePoint]! |= bit;
    });
  mark(unicodeData.removed, charFlag.removed);
  mark(unicodeData.whitespace, charFlag.whitespace);
  mark(unicodeData.punctuation, charFlag.punctuation);
  mark(unicodeData.ideograph, charFlag.ideograph);
  mark(unicodeData.nonspacing, charFlag.nonspacing);
  mark(unicodeData.decomposed, charFlag.decomposed);
  mark(unicodeData.lowered, charFlag.lowered);
  const combiningRanks = new Map<number, number>();
  unicodeData.combining.forEach((runs, index) => {
    mark(runs, charFlag.combining);
    eachRun(runs, (begin, end) => {
      for (let codePoint = begin; codePoint < end; codePoint++) combiningRanks.set(codePoint, index + 1);
    });
  });
  tables = { flags, combiningRanks };
  return tables;
}

function eachRun(runs: string, visit: (begin: number, end: number) => void): void {
  let end = 0;
  for (const run of runs.trim().split(/\s+/)) {
    const [gap = '', more = '0'] = run.split('+');
    const begin = end + Number.parseInt(gap, 36);
    end = begin + Number.parseInt(more, 36) + 1;
    visit(begin, end);
  }
}

function codePointsOf(text: string): number[] {
  return Array.from(text, (char) => char.codePointAt(0)!);
}
