import { grow, stringOf } from './key-table.js';
import type { Steps } from './steps.js';
import {
  charFlag,
  codePointAt,
  codePointFlags,
  combiningRank,
  decompose,
  lowerCase,
  prepareCodePoints,
  SPACE,
} from './unicode.js';

/** The four steps of BERT's normaliser, in the order in which they run. */
export interface NormalizerOptions {
  /** drops control characters and makes every whitespace a space */
  cleanText: boolean;
  /** puts spaces around CJK ideographs */
  handleChineseChars: boolean;
  /** decomposes (NFD) and drops nonspacing marks */
  stripAccents: boolean;
  lowercase: boolean;
}

/** Source units read between two checks for a place to pause, see `Normalizer.append`. */
const BLOCK_UNITS = 512;
/** Units whose table entries are filled between two pauses. */
const UNITS_PER_STEP = 128;
/** The most UTF-16 units that one source unit can become: U+1F82 decomposes into four. */
const MAX_EXPANSION = 4;

/** Normalised text as UTF-16 units, with the place in the source of each unit when asked for. A reusable buffer. */
export class NormalizedText {
  units: Uint16Array = new Uint16Array(4 * BLOCK_UNITS * MAX_EXPANSION);
  length = 0;
  /** source positions where each unit's code point begins and ends; kept up only when `aligned` */
  begins: Int32Array = new Int32Array(0);
  ends: Int32Array = new Int32Array(0);
  aligned = false;
  /** where the stretch of the source begins that is appended now */
  sourceBegin = 0;

  clear(aligned: boolean): void {
    this.length = 0;
    this.aligned = aligned;
    this.reserve(0);
  }

  /** Makes room for `more` units beyond `length`. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed > this.units.length) {
      const grown = new Uint16Array(Math.max(needed, 2 * this.units.length));
      grown.set(this.units.subarray(0, this.length));
      this.units = grown;
    }
    if (this.aligned && this.begins.length < this.units.length) {
      this.begins = grow(this.begins, this.units.length);
      this.ends = grow(this.ends, this.units.length);
    }
  }

  /** Appends a code point that comes from the source's [begin, end). Room must have been reserved. */
  push(codePoint: number, begin: number, end: number): void {
    if (codePoint > 0xffff) {
      this.pushUnit(0xd7c0 + (codePoint >> 10), begin, end);
      this.pushUnit(0xdc00 + (codePoint & 0x3ff), begin, end);
    } else {
      this.pushUnit(codePoint, begin, end);
    }
  }

  private pushUnit(unit: number, begin: number, end: number): void {
    this.units[this.length] = unit;
    if (this.aligned) {
      this.begins[this.length] = begin;
      this.ends[this.length] = end;
    }
    this.length++;
  }

  /** The units as a string. */
  toString(): string {
    return stringOf(this.units, 0, this.length);
  }
}

/** What becomes of one UTF-16 unit. `copy` must be 0: the inner loop tests for it. */
const kind = {
  /** becomes the one unit in `mapped` */
  copy: 0,
  drop: 1,
  /** becomes a space, the unit in `mapped`, a space */
  spaced: 2,
  /** becomes the code points in `expansions` */
  expand: 3,
  hangul: 4,
  surrogate: 5,
  /** leaves a combining mark that canonical ordering may move */
  reorder: 6,
} as const;

interface UnitTables {
  /** [65536] of `kind` */
  kinds: Uint8Array;
  /** [65536] the unit that a `copy` or `spaced` unit becomes */
  mapped: Uint16Array;
  expansions: Map<number, number[]>;
}

const tablesByOptions = new Map<number, UnitTables>();

/** A combining mark of a run, with the place in the source of the code point it comes from. */
interface Mark {
  codePoint: number;
  rank: number;
  /** survives the stripping of accents */
  kept: boolean;
  /** is a further part of the decomposition that gave the mark or starter before it */
  joins: boolean;
  begin: number;
  end: number;
}

/** BERT's normaliser: one pass over UTF-16 units with a table look-up each. */
export class Normalizer {
  private readonly flags = codePointFlags();

  private constructor(
    private readonly options: NormalizerOptions,
    private readonly tables: UnitTables,
  ) {}

  static *build(options: NormalizerOptions): Steps<Normalizer> {
    yield* prepareCodePoints();
    const key =
      (options.cleanText ? 1 : 0) +
      (options.handleChineseChars ? 2 : 0) +
      (options.stripAccents ? 4 : 0) +
      (options.lowercase ? 8 : 0);
    const known = tablesByOptions.get(key);
    if (known !== undefined) return new Normalizer(options, known);
    const normalizer = new Normalizer(options, {
      kinds: new Uint8Array(0x10000),
      mapped: new Uint16Array(0x10000),
      expansions: new Map(),
    });
    yield* normalizer.fillTables();
    tablesByOptions.set(key, normalizer.tables);
    return normalizer;
  }

  /** The whole text normalised, as a string. */
  normalize(text: string): string {
    const target = new NormalizedText();
    for (let position = 0; position < text.length;) {
      position = this.append(text, position, text.length, target);
    }
    return target.toString();
  }

  /**
   * Appends what text's [begin, end) becomes and returns the source position reached: `end`, or an earlier one just
   * after a space, where normalisation and splitting into words can both take up again. So a long text goes through
   * a buffer that stays in the nearest cache.
   */
  append(text: string, begin: number, end: number, target: NormalizedText): number {
    let position = begin;
    target.sourceBegin = begin;
    while (position < end) {
      const blockEnd = Math.min(position + BLOCK_UNITS, end);
      target.reserve((BLOCK_UNITS + 1) * MAX_EXPANSION);
      position = this.appendBlock(text, position, blockEnd, end, target);
      if (target.length > 0 && target.units[target.length - 1] === SPACE) break;
    }
    return position;
  }

  private appendBlock(
    text: string,
    begin: number,
    blockEnd: number,
    end: number,
    target: NormalizedText,
  ): number {
    const { kinds, mapped } = this.tables;
    let position = begin;
    while (position < blockEnd) {
      const { units } = target;
      const runBegin = position;
      const lengthBefore = target.length;
      let length = lengthBefore;
      while (position < blockEnd) {
        const unit = text.charCodeAt(position);
        if (kinds[unit] !== kind.copy) break;
        units[length++] = mapped[unit]!;
        position++;
      }
      target.length = length;
      if (target.aligned) alignRun(target, lengthBefore, runBegin);
      if (position === blockEnd) break;
      position = this.appendTransformed(text, position, end, target);
    }
    return position;
  }

  private appendTransformed(text: string, position: number, end: number, target: NormalizedText): number {
    const unit = text.charCodeAt(position);
    const next = position + 1;
    switch (this.tables.kinds[unit]) {
      case kind.drop:
        return next;
      case kind.spaced:
        target.push(SPACE, position, next);
        target.push(this.tables.mapped[unit]!, position, next);
        target.push(SPACE, position, next);
        return next;
      case kind.hangul: {
        const index = unit - 0xac00;
        target.push(0x1100 + Math.trunc(index / 588), position, next);
        target.push(0x1161 + Math.trunc((index % 588) / 28), position, next);
        if (index % 28 > 0) target.push(0x11a7 + (index % 28), position, next);
        return next;
      }
      case kind.reorder:
        return this.appendReordered(text, position, end, target);
      case kind.expand:
        for (const codePoint of this.tables.expansions.get(unit)!) target.push(codePoint, position, next);
        return next;
      default:
        return this.appendCodePoint(text, position, end, target);
    }
  }

  /** One surrogate pair, or a lone surrogate. */
  private appendCodePoint(text: string, position: number, end: number, target: NormalizedText): number {
    const codePoint = codePointAt(text, position, end);
    const next = position + (codePoint > 0xffff ? 2 : 1);
    if (this.flags[codePoint] === 0) {
      target.push(codePoint, position, next);
    } else if (this.leavesMark(codePoint)) {
      return this.appendReordered(text, position, end, target);
    } else {
      for (const part of this.normalizeCodePoint(codePoint)) target.push(part, position, next);
    }
    return next;
  }

  /**
   * A run of code points that leaves combining marks: the marks that survive are put in canonical order. A mark that
   * is stripped cannot change the order of the others, so the run may begin at the first survivor; only the places in
   * the source depend on all of them.
   */
  private appendReordered(text: string, position: number, end: number, target: NormalizedText): number {
    const marks: Mark[] = [];
    let next = target.aligned ? this.runBegin(text, position, target.sourceBegin) : position;
    while (next < end) {
      const begin = next;
      const codePoint = codePointAt(text, begin, end);
      next += codePoint > 0xffff ? 2 : 1;
      if (this.isRemoved(codePoint)) continue;
      const parts = this.decomposed(codePoint);
      if (begin > position && combiningRank(parts[0]!) === 0) {
        next = begin;
        break;
      }
      parts.forEach((part, index) => {
        const rank = combiningRank(part);
        const kept = !(this.flags[part]! & charFlag.nonspacing);
        if (rank > 0) marks.push({ codePoint: part, rank, kept, joins: index > 0, begin, end: next });
        else if (kept) this.appendLowered(part, begin, next, target);
      });
    }
    const sources = marks.filter(({ joins }) => !joins);
    marks.sort((a, b) => a.rank - b.rank);
    target.reserve(marks.length * MAX_EXPANSION);
    // Hugging Face aligns by position, not by origin: the n-th mark in the new order takes the place of the n-th mark
    // in the source, and a further part of a decomposition that of whatever comes before it.
    let place = { begin: position, end: position + (text.codePointAt(position)! > 0xffff ? 2 : 1) };
    let numPlaced = 0;
    for (const mark of marks) {
      if (!mark.joins) place = sources[numPlaced++]!;
      if (mark.kept) this.appendLowered(mark.codePoint, place.begin, place.end, target);
    }
    return next;
  }

  /** Where the marks begin of the run that goes on at a position; the position itself where a starter stands there. */
  private runBegin(text: string, position: number, floor: number): number {
    let begin = position;
    if (combiningRank(this.decomposed(text.codePointAt(position)!)[0]!) === 0) return begin;
    for (let index = position; index > floor;) {
      const isPair = index - 1 > floor && text.codePointAt(index - 2)! > 0xffff;
      index -= isPair ? 2 : 1;
      const codePoint = codePointAt(text, index, position);
      if (this.isRemoved(codePoint)) continue;
      if (combiningRank(this.decomposed(codePoint)[0]!) === 0) break;
      begin = index;
    }
    return begin;
  }

  private appendLowered(codePoint: number, begin: number, end: number, target: NormalizedText): void {
    for (const lowered of this.lowered(codePoint)) target.push(lowered, begin, end);
  }

  private isRemoved(codePoint: number): boolean {
    return this.options.cleanText && (this.flags[codePoint]! & charFlag.removed) !== 0;
  }

  private leavesMark(codePoint: number): boolean {
    if (!this.options.stripAccents || this.isRemoved(codePoint)) return false;
    return this.decomposed(codePoint).some(
      (part) => (this.flags[part]! & (charFlag.combining | charFlag.nonspacing)) === charFlag.combining,
    );
  }

  /** What one code point that leaves no combining mark becomes. */
  private normalizeCodePoint(codePoint: number): number[] {
    const { cleanText, handleChineseChars, stripAccents } = this.options;
    const flags = this.flags[codePoint]!;
    if (this.isRemoved(codePoint)) return [];
    let parts = cleanText && flags & charFlag.whitespace ? [SPACE] : this.decomposed(codePoint);
    if (stripAccents) parts = parts.filter((part) => !(this.flags[part]! & charFlag.nonspacing));
    parts = parts.flatMap((part) => this.lowered(part));
    return handleChineseChars && flags & charFlag.ideograph ? [SPACE, ...parts, SPACE] : parts;
  }

  private decomposed(codePoint: number): number[] {
    const decomposes = this.options.stripAccents && this.flags[codePoint]! & charFlag.decomposed;
    return decomposes ? decompose(codePoint) : [codePoint];
  }

  private lowered(codePoint: number): number[] {
    const changes = this.options.lowercase && this.flags[codePoint]! & charFlag.lowered;
    return changes ? lowerCase(codePoint) : [codePoint];
  }

  private *fillTables(): Steps<void> {
    const { flags } = this;
    const { kinds, mapped, expansions } = this.tables;
    for (let unit = 0; unit < 0x10000; unit++) {
      if (unit % UNITS_PER_STEP === 0) yield;
      mapped[unit] = unit;
      if (unit >= 0xd800 && unit < 0xe000) kinds[unit] = kind.surrogate;
      else if (flags[unit] === 0) continue;
      else if (flags[unit] === charFlag.ideograph)
        kinds[unit] = this.options.handleChineseChars ? kind.spaced : kind.copy;
      else if (unit >= 0xac00 && unit <= 0xd7a3)
        kinds[unit] = this.options.stripAccents ? kind.hangul : kind.copy;
      else if (this.leavesMark(unit)) kinds[unit] = kind.reorder;
      else {
        const parts = this.normalizeCodePoint(unit);
        const [first = 0, second = 0] = parts;
        if (parts.length === 0) kinds[unit] = kind.drop;
        else if (parts.length === 1 && first <= 0xffff) mapped[unit] = first;
        else if (parts.length === 3 && first === SPACE && second <= 0xffff) {
          kinds[unit] = kind.spaced;
          mapped[unit] = second;
        } else {
          kinds[unit] = kind.expand;
          expansions.set(unit, parts);
        }
      }
    }
  }
}

/** Source positions of units that were copied one for one. */
function alignRun(target: NormalizedText, from: number, runBegin: number): void {
  for (let index = from; index < target.length; index++) {
    target.begins[index] = runBegin + index - from;
    target.ends[index] = runBegin + index - from + 1;
  }
}
