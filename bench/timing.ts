/** What is timed: one repetition. */
export type Subject = () => Promise<unknown>;

export interface Rounds {
  /** median time of a repetition in each round, per subject */
  ms: number[][];
}

/** Repetitions of one subject before the next subject's turn last about this long, so that clocks and caches settle. */
const burstMs = 150;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

async function once(subject: Subject): Promise<number> {
  const start = performance.now();
  await subject();
  return performance.now() - start;
}

/**
 * Median time of some repetitions. The first one only brings weights and activations back into the caches, unless it
 * lasts a burst by itself: then that hardly matters, and it is the one that counts.
 */
export async function burst(subject: Subject): Promise<number> {
  const first = await once(subject);
  if (first >= burstMs) return first;
  const times: number[] = [];
  for (let total = 0; total < burstMs; total += times.at(-1)!) times.push(await once(subject));
  return median(times);
}

/**
 * Times subjects in turn, A B A B …, so that a machine that drifts or is shared slows all of them alike. Ratios are to be
 * taken round by round. `beforeRound` runs untimed.
 */
export async function alternate(
  subjects: readonly Subject[],
  numRounds: number,
  beforeRound?: () => void,
): Promise<Rounds> {
  const ms: number[][] = subjects.map(() => []);
  for (let round = 0; round < numRounds; round++) {
    beforeRound?.();
    for (const [s, subject] of subjects.entries()) ms[s]!.push(await burst(subject));
  }
  return { ms };
}

/** Median over the rounds of how many times as long `other` took as `own`. */
export function medianSpeedup(own: readonly number[], other: readonly number[]): number {
  return median(own.map((value, round) => other[round]! / value));
}
