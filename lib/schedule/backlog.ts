/** The waiting requests: in the order that a policy takes them, and summed by deadline so that looking ahead needs no walk. */
import TinyQueue from 'tinyqueue';
import type { Choices, PriceGrid } from './price-grid.js';
import type { WaitingRequest } from './types.js';

export type Order = 'arrival' | 'deadline';

/** A waiting request and what it takes at each price. */
export interface Waiting {
  readonly request: WaitingRequest;
  readonly choices: Choices;
}

/** Requests that are due at about the same time. */
export interface DueGroup {
  /** no request of it is due earlier */
  dueMs: number;
  count: number;
  /** [prices] nominal time of all of them at the levels of each price, without batchMs */
  nominalMs: Float64Array;
}

interface Entry extends Waiting {
  /** what the heap compares first, and then */
  readonly key: number;
  readonly id: number;
  readonly group: DueGroup | undefined;
  isGone: boolean;
}

/** A group spans this part of the time that its requests were given, so that looking ahead errs by no more. */
const groupsPerDeadline = 32;
/** Entries that were taken out of the middle of a heap stay there until they are this share of it. */
const mostGone = 0.5;

export class Backlog {
  readonly #grid: PriceGrid;
  readonly #order: Order;
  readonly #entries = new Map<number, Entry>();
  /** with a deadline, and without */
  #timed = new TinyQueue<Entry>([], byKey);
  #untimed = new TinyQueue<Entry>([], byKey);
  #numTimed = 0;
  /** rising by dueMs */
  readonly #groups: DueGroup[] = [];

  constructor(parts: { grid: PriceGrid; order: Order }) {
    this.#grid = parts.grid;
    this.#order = parts.order;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Of the requests that have a deadline. */
  get numTimed(): number {
    return this.#numTimed;
  }

  /** Groups of the requests that have a deadline, rising by dueMs. */
  get groups(): readonly DueGroup[] {
    return this.#groups;
  }

  add(request: WaitingRequest): void {
    const isTimed = request.deadlineMs !== Infinity;
    const group = isTimed ? this.#groupOf(request) : undefined;
    const entry: Entry = {
      request,
      key: this.#keyOf(request),
      id: request.id,
      choices: this.#grid.choose(request),
      group,
      isGone: false,
    };
    this.#entries.set(request.id, entry);
    if (group === undefined) {
      this.#untimed.push(entry);
      return;
    }
    this.#timed.push(entry);
    this.#numTimed += 1;
    group.count += 1;
    addTimes(group, entry, 1);
  }

  /** Takes a request out. False when it does not wait. */
  remove(id: number): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    this.#entries.delete(id);
    entry.isGone = true;
    const { group } = entry;
    if (group === undefined) {
      this.#untimed = withoutGone(this.#untimed, this.size - this.#numTimed);
      return true;
    }
    this.#numTimed -= 1;
    group.count -= 1;
    // Sums of differences would not come back to 0 by themselves.
    if (group.count === 0) this.#groups.splice(this.#groups.indexOf(group), 1);
    else addTimes(group, entry, -1);
    this.#timed = withoutGone(this.#timed, this.#numTimed);
    return true;
  }

  /** The first of those with a deadline, and of those without. */
  get firstTimed(): WaitingRequest | undefined {
    return this.#timed.peek()?.request;
  }

  get firstUntimed(): WaitingRequest | undefined {
    return this.#untimed.peek()?.request;
  }

  /** The requests that have a deadline, in the policy's order. */
  timed(): Iterable<Waiting> {
    return inOrder(this.#timed);
  }

  /** The requests that have none: interactive ones first, then by arrival. */
  untimed(): Iterable<Waiting> {
    return inOrder(this.#untimed);
  }

  /** Found, or made. Groups are as wide as a power of two of milliseconds, so that requests of like deadlines share theirs. */
  #groupOf({ arrivalMs, deadlineMs }: WaitingRequest): DueGroup {
    const givenMs = Math.max(deadlineMs - arrivalMs, 1e-3);
    const widthMs = 2 ** Math.floor(Math.log2(givenMs / groupsPerDeadline));
    const dueMs = Math.floor(deadlineMs / widthMs) * widthMs;
    const at = firstDueFrom(this.#groups, dueMs);
    const found = this.#groups[at];
    if (found?.dueMs === dueMs) return found;
    const group = { dueMs, count: 0, nominalMs: new Float64Array(this.#grid.prices.length) };
    this.#groups.splice(at, 0, group);
    return group;
  }

  /** Equal keys go by arrival. */
  #keyOf({ priority, deadlineMs }: WaitingRequest): number {
    if (deadlineMs === Infinity) return priority === 'bulk' ? 1 : 0;
    return this.#order === 'deadline' ? deadlineMs : 0;
  }
}

/** The heap without what is gone at its top, or at all when that is most of it. */
function withoutGone(heap: TinyQueue<Entry>, numLeft: number): TinyQueue<Entry> {
  if (numLeft < heap.length * mostGone) {
    const left = heap.data.filter(({ isGone }) => !isGone);
    return new TinyQueue(left, byKey);
  }
  while (heap.peek()?.isGone === true) heap.pop();
  return heap;
}

function addTimes({ nominalMs }: DueGroup, { choices }: Waiting, sign: 1 | -1): void {
  for (let idx = 0; idx < nominalMs.length; ++idx) nominalMs[idx]! += sign * choices.nominalMs[idx]!;
}

/** Position of the first group that is due at `dueMs` or later. */
function firstDueFrom(groups: readonly DueGroup[], dueMs: number): number {
  let begin = 0;
  let end = groups.length;
  while (begin < end) {
    const middle = (begin + end) >>> 1;
    if (groups[middle]!.dueMs < dueMs) begin = middle + 1;
    else end = middle;
  }
  return begin;
}

/**
 * A heap's items in order, without taking them out: those that may be next are the children of what came before (Frederickson,
 * "An Optimal Algorithm for Selection in a Min-Heap", 1993, in its simple form), so the first k cost O(k log k) at any size.
 */
function* inOrder({ data }: TinyQueue<Entry>): Generator<Waiting> {
  if (data.length === 0) return;
  const next = new TinyQueue<number>([0], (a, b) => byKey(data[a]!, data[b]!));
  for (let at = next.pop(); at !== undefined; at = next.pop()) {
    for (const child of [2 * at + 1, 2 * at + 2]) if (child < data.length) next.push(child);
    const entry = data[at]!;
    if (!entry.isGone) yield entry;
  }
}

function byKey(a: Entry, b: Entry): number {
  return a.key - b.key || a.id - b.id;
}
