/** Random choices by seed, as functions of whole numbers. */
import { mixBits } from './random.js';

/** A number in [0, 1) for some whole numbers, such as (seed, position). */
export function uniform(...numbers: readonly number[]): number {
  return mixBits(...numbers) / 2 ** 32;
}

/** `count` different numbers of 0 … size - 1 (all of them where count is larger), in random order. */
export function drawDistinct(size: number, count: number, seed: number): number[] {
  // The first steps of a Fisher-Yates shuffle over an array that is written down only where it has changed.
  const moved = new Map<number, number>();
  return Array.from({ length: Math.min(size, count) }, (_, idx) => {
    const other = idx + (mixBits(seed, idx) % (size - idx));
    const drawn = moved.get(other) ?? other;
    moved.set(other, moved.get(idx) ?? idx);
    return drawn;
  });
}
