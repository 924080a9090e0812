/** Random numbers one after the other. */

/**
 * A stream of random numbers that depends on its seeds alone (xoshiro128**; Blackman and Vigna, "Scrambled Linear Pseudorandom
 * Number Generators", 2021). Whoever draws for different ends takes a stream for each, so that one more draw here does not
 * change what is drawn there.
 */
export class RandomStream {
  readonly #state: Uint32Array; // [4]

  constructor(...seeds: readonly number[]) {
    this.#state = spreadSeeds(seeds);
  }

  /** in [0, 1), with 53 bits */
  uniform(): number {
    const high = this.#word() >>> 5;
    const low = this.#word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.uniform());
  }

  /** with mean 0 and deviation 1 (Box and Muller, 1958) */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  #word(): number {
    const state = this.#state;
    const [s0, s1] = [state[0]!, state[1]!];
    const product = Math.imul(s1, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    state[2]! ^= s0;
    state[3]! ^= s1;
    state[1]! ^= state[2]!;
    state[0]! ^= state[3]!;
    state[2]! ^= s1 << 9;
    const s3 = state[3]!;
    state[3] = (s3 << 11) | (s3 >>> 21);
    return result;
  }
}

/** Four words in which every bit of every seed counts (a Weyl sequence, each step mixed as MurmurHash3 ends; Appleby). */
function spreadSeeds(seeds: readonly number[]): Uint32Array {
  let hash = 0;
  const next = (word: number): number => {
    hash = (hash ^ word) + 0x9e3779b9;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash = (hash ^ (hash >>> 16)) >>> 0;
    return hash;
  };
  for (const seed of seeds) {
    next(seed >>> 0);
    next(Math.floor(seed / 2 ** 32) >>> 0);
  }
  return Uint32Array.from({ length: 4 }, () => next(0));
}
