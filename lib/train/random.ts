/** Random choices that depend on nothing but what they are for: a resumed run makes the same ones. */

/** 32 well mixed bits of some whole numbers (MurmurHash3's mixing, Appleby). Numbers from 2^32 up count with their upper bits. */
export function mixBits(...numbers: readonly number[]): number {
  let hash = 0x9747b28c;
  for (const number of numbers) {
    hash = mixWord(hash, number >>> 0);
    hash = mixWord(hash, Math.floor(number / 2 ** 32) >>> 0);
  }
  return spread(hash);
}

/** Every bit of `hash` in every bit of the result. */
function spread(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function mixWord(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
  const sum = hash ^ mixed;
  return (Math.imul((sum << 13) | (sum >>> 19), 5) + 0xe6546b64) | 0;
}

/** Puts items in a random order, in place (Fisher-Yates); the order is a function of `seed` and the number of items. */
export function shuffle<Item>(items: Item[], seed: number): Item[] {
  for (let last = items.length - 1; last > 0; --last) {
    const other = mixBits(seed, last) % (last + 1);
    [items[last], items[other]] = [items[other]!, items[last]!];
  }
  return items;
}

/** Rounds of the network below; four pass statistical tests (Luby & Rackoff), two more cost little. */
const numRounds = 6;

/**
 * A random order of 0 … size - 1 that can be asked at any place without being made as a whole: a Feistel network over the
 * next larger even power of two, walked until it lands below `size` (Black & Rogaway). Millions of examples need no array
 * and no pause.
 */
export function randomOrder(size: number, seed: number): (place: number) => number {
  let halfBits = 1;
  while (4 ** halfBits < size) ++halfBits;
  const halfSize = 2 ** halfBits;
  const mask = halfSize - 1;
  const keys = Array.from({ length: numRounds }, (_, round) => mixBits(seed, round));
  return (place) => {
    let value = place;
    do {
      let left = Math.floor(value / halfSize);
      let right = value & mask;
      for (const key of keys) {
        const next = (left ^ spread(right ^ key)) & mask;
        left = right;
        right = next;
      }
      value = left * halfSize + right;
    } while (value >= size);
    return value;
  };
}
