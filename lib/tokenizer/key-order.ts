import type { KeyTable } from './key-table.js';
import type { Steps } from './steps.js';

/** Up to this many keys, insertion into place beats counting, which looks at each key twice and allocates. */
const MAX_INSERTED = 24;
const KEYS_PER_STEP = 4096;

/** An order of a table's keys that a trie sorts range by range, one unit deeper each time. */
export class KeyOrder {
  /** [keys] positions in the table */
  readonly order: Int32Array;
  private readonly scratch: Int32Array;
  /** [65537] by label: how many keys have it, then where the next of them goes; 0 between uses */
  private readonly places = new Int32Array(0x10001);

  private constructor(private readonly keys: KeyTable) {
    this.order = new Int32Array(keys.length);
    this.scratch = new Int32Array(keys.length);
  }

  /** The order in which the table has the keys. */
  static *build(keys: KeyTable): Steps<KeyOrder> {
    const built = new KeyOrder(keys);
    for (let index = 0; index < keys.length; index++) {
      if (index % KEYS_PER_STEP === 0) yield;
      built.order[index] = index;
    }
    return built;
  }

  /** One more than the unit of the index-th key at a depth, 0 where the key ends there. */
  label(index: number, depth: number): number {
    const { begins, units } = this.keys;
    const key = this.order[index]!;
    const at = begins[key]! + depth;
    return at === begins[key + 1]! ? 0 : units[at]! + 1;
  }

  value(index: number): number {
    return this.keys.values[this.order[index]!]!;
  }

  isSmall(begin: number, end: number): boolean {
    return end - begin <= MAX_INSERTED;
  }

  /** Sorts keys [begin, end) by their labels at a depth; equal ones stay in order. Quadratic: for small ranges. */
  insert(begin: number, end: number, depth: number): void {
    const { order } = this;
    for (let index = begin + 1; index < end; index++) {
      const key = order[index]!;
      const label = this.label(index, depth);
      let place = index;
      for (; place > begin && this.label(place - 1, depth) > label; place--) order[place] = order[place - 1]!;
      order[place] = key;
    }
  }

  /** As `insert`, in linear time. */
  *count(begin: number, end: number, depth: number): Steps<void> {
    const { order, places, scratch } = this;
    const found: number[] = [];
    for (let index = begin; index < end; index++) {
      if (index % KEYS_PER_STEP === 0) yield;
      const label = this.label(index, depth);
      if (places[label]!++ === 0) found.push(label);
    }
    const labels = Int32Array.from(found).sort();
    let place = begin;
    for (const label of labels) {
      const count = places[label]!;
      places[label] = place;
      place += count;
    }
    for (let index = begin; index < end; index++) {
      if (index % KEYS_PER_STEP === 0) yield;
      scratch[places[this.label(index, depth)]!++] = order[index]!;
    }
    order.set(scratch.subarray(begin, end), begin);
    for (const label of labels) places[label] = 0;
  }
}
