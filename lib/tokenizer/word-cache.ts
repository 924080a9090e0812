import type { TokenBuffer } from './token-buffer.js';

/**
 * One slot is one 64-byte cache line of 16 int32: hash, (units << 8 | tokens), up to 16 units of the word, up to 6 ids.
 * Longer words are not kept: in English text they are under 1% of all words.
 */
const SLOT_INTS = 16;
const MAX_UNITS = 16;
const UNITS_AT = 4; // in 2-byte units from the slot's start
const IDS_AT = 10;
const MAX_IDS = 6;
/**
 * 16,384 slots, 1 MB. Direct mapped: a word that falls on a taken slot replaces it, so the bound needs no bookkeeping
 * and no text, however hostile, can make a look-up slow.
 */
const SLOT_BITS = 14;

/** Token ids of words seen lately, keyed by their normalised UTF-16 units. */
export class WordCache {
  private readonly ints = new Int32Array(SLOT_INTS << SLOT_BITS);
  private readonly units = new Uint16Array(this.ints.buffer);

  /** Appends the ids of units [begin, end) when they are known. */
  lookUp(units: Uint16Array, begin: number, end: number, hash: number, out: TokenBuffer): boolean {
    const { ints, units: keys } = this;
    const slot = slotOf(hash);
    if (ints[slot] !== hash) return false;
    const sizes = ints[slot + 1]!;
    if (sizes >> 8 !== end - begin) return false;
    let key = 2 * slot + UNITS_AT;
    for (let index = begin; index < end; index++) if (keys[key++] !== units[index]) return false;
    const count = sizes & 0xff;
    for (let index = 0; index < count; index++) out.push(ints[slot + IDS_AT + index]!);
    return true;
  }

  /** Remembers that units [begin, end) became the tokens of `out` from `firstToken` on. */
  keep(
    units: Uint16Array,
    begin: number,
    end: number,
    hash: number,
    out: TokenBuffer,
    firstToken: number,
  ): void {
    const count = out.length - firstToken;
    if (end - begin > MAX_UNITS || count > MAX_IDS) return;
    const slot = slotOf(hash);
    this.ints[slot] = hash;
    this.ints[slot + 1] = ((end - begin) << 8) | count;
    this.units.set(units.subarray(begin, end), 2 * slot + UNITS_AT);
    this.ints.set(out.ids.subarray(firstToken, out.length), slot + IDS_AT);
  }
}

function slotOf(hash: number): number {
  return ((hash ^ (hash >>> 15)) & ((1 << SLOT_BITS) - 1)) * SLOT_INTS;
}
