import { KeyOrder } from './key-order.js';
import type { KeyTable } from './key-table.js';
import type { Steps } from './steps.js';

/** What a node holds where no key ends. */
export const NO_VALUE = -1;
/** What `child` gives where no edge leads on. */
export const NO_NODE = -1;
export const ROOT = 0;

const MAX_VALUE = 2 ** 31 - 1;
/** Nodes and keys looked at between two pauses: some tens of microseconds. */
const WORK_PER_STEP = 512;

/** Below this many children a linear scan beats bisection: they share a cache line of 2-byte labels. */
const LINEAR_CHILDREN = 8;

/**
 * A read-only trie over UTF-16 units in three typed arrays. Nodes are numbered breadth first, so a node's children are
 * consecutive, sorted by label, and found without hashing: 10 bytes a node, 1.1 MB for BERT's English vocabulary.
 */
export class Trie {
  /** [nodes + 1] children of node n are firstChild[n] up to firstChild[n + 1] */
  private readonly firstChild: Int32Array;
  /** [nodes] unit on the edge that leads to the node */
  private readonly labels: Uint16Array;
  /** [nodes] value of the key that ends at the node, or NO_VALUE */
  readonly values: Int32Array;

  /** different keys */
  readonly size: number;

  private constructor(
    nodes: { firstChild: Int32Array; labels: Uint16Array; values: Int32Array },
    size: number,
  ) {
    this.firstChild = nodes.firstChild;
    this.labels = nodes.labels;
    this.values = nodes.values;
    this.size = size;
  }

  /** @param keys with values of at least 0; of equal keys the last counts */
  static *build(keys: KeyTable): Steps<Trie> {
    const capacity = keys.begins[keys.length]! + 1;
    const firstChild = new Int32Array(capacity + 1);
    const labels = new Uint16Array(capacity);
    const values = new Int32Array(capacity);
    // keys [rangeBegins[n], rangeEnds[n]) of the order are those that run through node n, which is depths[n] units deep
    const rangeBegins = new Int32Array(capacity);
    const rangeEnds = new Int32Array(capacity);
    const depths = new Int32Array(capacity);
    const ordered = yield* KeyOrder.build(keys);
    rangeEnds[ROOT] = keys.length;
    let nodes = 1;
    let size = 0;
    let work = 0;
    for (let node = 0; node < nodes; node++) {
      if (++work % WORK_PER_STEP === 0) yield;
      firstChild[node] = nodes;
      const depth = depths[node]!;
      let index = rangeBegins[node]!;
      const rangeEnd = rangeEnds[node]!;
      if (ordered.isSmall(index, rangeEnd)) ordered.insert(index, rangeEnd, depth);
      else yield* ordered.count(index, rangeEnd, depth);
      let value = NO_VALUE;
      for (; index < rangeEnd && ordered.label(index, depth) === 0; index++) value = ordered.value(index);
      values[node] = value;
      if (value !== NO_VALUE) size++;
      while (index < rangeEnd) {
        const label = ordered.label(index, depth);
        labels[nodes] = label - 1;
        depths[nodes] = depth + 1;
        rangeBegins[nodes] = index;
        while (index < rangeEnd && ordered.label(index, depth) === label) {
          if (++work % WORK_PER_STEP === 0) yield;
          index++;
        }
        rangeEnds[nodes] = index;
        nodes++;
      }
    }
    firstChild[nodes] = nodes;
    // each copy touches megabytes of fresh memory
    yield;
    const keptFirstChild = firstChild.slice(0, nodes + 1);
    yield;
    const kept = { firstChild: keptFirstChild, labels: labels.slice(0, nodes) };
    yield;
    return new Trie({ ...kept, values: values.slice(0, nodes) }, size);
  }

  /** A key's value. */
  get(key: string): number | undefined {
    const node = this.find(key);
    return node === NO_NODE || this.values[node] === NO_VALUE ? undefined : this.values[node];
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** A key that has the value; looks through all nodes, about 20 us for BERT's English vocabulary. */
  keyOf(value: number): string | undefined {
    if (value <= NO_VALUE || value > MAX_VALUE) return undefined;
    let node = this.values.lastIndexOf(value);
    if (node === NO_NODE) return undefined;
    let key = '';
    while (node !== ROOT) {
      key = String.fromCharCode(this.labels[node]!) + key;
      node = this.parent(node);
    }
    return key;
  }

  /** The node that a unit leads to, or NO_NODE. */
  child(node: number, unit: number): number {
    const { labels } = this;
    let low = this.firstChild[node]!;
    let high = this.firstChild[node + 1]!;
    while (high - low > LINEAR_CHILDREN) {
      const middle = (low + high) >>> 1;
      if (labels[middle]! <= unit) low = middle;
      else high = middle;
    }
    for (; low < high; low++) if (labels[low] === unit) return low;
    return NO_NODE;
  }

  /** The node that a whole string leads to, or NO_NODE. */
  find(text: string): number {
    let node = ROOT;
    for (let index = 0; index < text.length && node !== NO_NODE; index++) {
      node = this.child(node, text.charCodeAt(index));
    }
    return node;
  }

  /** The last node whose children begin at `node` or before it. */
  private parent(node: number): number {
    let low: number = ROOT;
    let high = node;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.firstChild[middle]! <= node) low = middle;
      else high = middle;
    }
    return low;
  }
}
