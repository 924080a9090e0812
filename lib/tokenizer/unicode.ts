import { ElasticError } from '../errors.js';
import { runToEnd } from './steps.js';
import type { Steps } from './steps.js';
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

const CODE_POINTS_PER_STEP = 1 << 14;

let tables: CodePointTables | undefined;

/** [0x110000] bits of `charFlag` by code point, built once per process. */
export function codePointFlags(): Uint8Array {
  return codePointTables().flags;
}

/** Builds the tables of this file, so that no later call has to. */
export function* prepareCodePoints(): Steps<void> {
  tables ??= yield* buildTables();
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
  tables ??= runToEnd(buildTables());
  return tables;
}

function* buildTables(): Steps<CodePointTables> {
  if ('\u00e9'.normalize('NFD').length !== 2) {
    throw ElasticError.of('ELASTICLM_TOKENIZER_UNSUPPORTED', {
      expected: 'Unicode normalisation',
      subject: 'this Node',
      received: 'a build without Intl',
      remedy: 'Use an official build of Node',
    });
  }
  const flags = new Uint8Array(0x110000);
  function* mark(runs: string, bit: number): Steps<void> {
    yield;
    let work = 0;
    for (const [begin, end] of runsOf(runs)) {
      for (let codePoint = begin; codePoint < end; codePoint++) {
        if (++work % CODE_POINTS_PER_STEP === 0) yield;
        flags[codePoint]! |= bit;
      }
    }
  }
  yield* mark(unicodeData.removed, charFlag.removed);
  yield* mark(unicodeData.whitespace, charFlag.whitespace);
  yield* mark(unicodeData.punctuation, charFlag.punctuation);
  yield* mark(unicodeData.ideograph, charFlag.ideograph);
  yield* mark(unicodeData.nonspacing, charFlag.nonspacing);
  yield* mark(unicodeData.decomposed, charFlag.decomposed);
  yield* mark(unicodeData.lowered, charFlag.lowered);
  const combiningRanks = new Map<number, number>();
  for (const [index, runs] of unicodeData.combining.entries()) {
    yield* mark(runs, charFlag.combining);
    for (const [begin, end] of runsOf(runs)) {
      for (let codePoint = begin; codePoint < end; codePoint++) combiningRanks.set(codePoint, index + 1);
    }
  }
  return { flags, combiningRanks };
}

function* runsOf(runs: string): Generator<[begin: number, end: number], void, undefined> {
  let end = 0;
  for (const run of runs.trim().split(/\s+/)) {
    const [gap = '', more = '0'] = run.split('+');
    const begin = end + Number.parseInt(gap, 36);
    end = begin + Number.parseInt(more, 36) + 1;
    yield [begin, end];
  }
}

function codePointsOf(text: string): number[] {
  return Array.from(text, (char) => char.codePointAt(0)!);
}
