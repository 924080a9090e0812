/** Latencies, counted in narrow classes: any number of them in little memory, and nothing to sort. */

/** Classes to a doubling: each is 0.27% wide, so the middle that is told is off by at most 0.14%. */
const perDoubling = 256;
/** From 1 us to 2^20 s, which is 12 days. What lies outside is counted in the first or the last class. */
const firstExponent = -10;
const numDoublings = 40;
const numClasses = numDoublings * perDoubling;

export class LatencyHistogram {
  readonly #counts = new Uint32Array(numClasses);
  #count = 0;
  #sumMs = 0;
  #mostMs = 0;

  get count(): number {
    return this.#count;
  }

  /** Exact; NaN without any. */
  get meanMs(): number {
    return this.#sumMs / this.#count;
  }

  /** Exact; 0 without any. */
  get mostMs(): number {
    return this.#mostMs;
  }

  add(ms: number): void {
    this.#counts[classOf(ms)]! += 1;
    this.#count += 1;
    this.#sumMs += ms;
    this.#mostMs = Math.max(this.#mostMs, ms);
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#sumMs = 0;
    this.#mostMs = 0;
  }

  /** The smallest latency that this share of all, in (0, 1], does not exceed (nearest rank), within 0.14%; NaN without any. */
  quantileMs(share: number): number {
    if (this.#count === 0) return NaN;
    let left = Math.max(1, Math.ceil(share * this.#count));
    if (left === this.#count) return this.#mostMs;
    const idx = this.#counts.findIndex((count) => (left -= count) <= 0);
    return Math.min(this.#mostMs, beginOf(idx + 0.5));
  }

  /** How many took no longer than `ms`, counted by classes. */
  countUpTo(ms: number): number {
    const last = classOf(ms);
    let count = 0;
    for (let idx = 0; idx <= last; ++idx) count += this.#counts[idx]!;
    return count;
  }
}

function classOf(ms: number): number {
  const idx = Math.floor((Math.log2(ms) - firstExponent) * perDoubling);
  return Math.min(numClasses - 1, Math.max(0, idx));
}

function beginOf(idx: number): number {
  return 2 ** (idx / perDoubling + firstExponent);
}
