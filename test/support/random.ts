/** Seeded random numbers: the same sequence on every machine, so that a failure can be run again. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** uniform in [0, 2^32) (mulberry32) */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** uniform in [0, 1) */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** uniform over whole numbers from `low` up to `high`, both included */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** normal with mean 0 and deviation 1 (Box-Muller) */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  pick<Item>(items: readonly Item[]): Item {
    if (items.length === 0) throw new Error('nothing to pick from');
    return items[this.integer(0, items.length - 1)] as Item;
  }

  /** a sorted random subset of 0 … size - 1 */
  subset(size: number): number[] {
    return Array.from({ length: size }, (_, position) => position).filter(() => this.uniform() < 0.5);
  }
}
