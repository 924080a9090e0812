/** What is timed: one repetition. */
export type Subject = () => Promise<unknown>;

export interface Rounds {
  /** median time of a repetition in each round, per subject */
  ms: number[][];
}

/** Repetitions of one subject before the next subject's turn last about this long, so that clocks and caches settle. */
const burstMs = 150;
const minBurst = 3;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

async function burst(subject: Subject): Promise<number> {
  await subject(); // brings weights and activations back into the caches
  const times: number[] = [];
  for (let total = 0; times.length < minBurst || total < burstMs; total += times.at(-1)!) {
    const start = performance.now();
    await subject();
    times.push(performance.now() - start);
  }
  return median(times);
}

/**
 * Times subjects in turn, A B A B …, so that a machine that drifts or is shared slows all of them alike. Ratios are to be
 * taken round by round.
 */
export async function alternate(subjects: readonly Subject[], numRounds: number): Promise<Rounds> {
  const ms: number[][] = subjects.map(() => []);
  for (let round = 0; round < numRounds; round++) {
    for (const [s, subject] of subjects.entries()) ms[s]!.push(await burst(subject));
  }
  return { ms };
}

/** Median over the rounds of how many times as long `other` took as `own`. */
export function medianSpeedup(own: readonly number[], other: readonly number[]): number {
  return median(own.map((value, round) => other[round]! / value));
}
