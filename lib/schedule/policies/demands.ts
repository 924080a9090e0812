/** What must be done by when, at each price of time. */
import type { DueGroup, Waiting } from '../backlog.js';

/** Requests, or groups of them, rising by deadline: three lists side by side, since schedules look through them often. */
export class Demands {
  readonly #nominalMs: Float64Array[] = [];
  readonly #capacityMs: number[] = [];
  readonly #factor: number;
  readonly #extraMs: number;

  /** What each adds to its nominal time: a factor of it, and a time of its own. */
  private constructor(factor: number, extraMs: number) {
    this.#factor = factor;
    this.#extraMs = extraMs;
  }

  /** Each request by itself, in a batch of its own: what that costs, batchMs, is counted for each. */
  static ofRequests(waiting: Iterable<Waiting>, batchMs: number, capacityMs: Capacity): Demands {
    const demands = new Demands(1, batchMs);
    for (const { request, choices } of waiting)
      demands.#add(choices.nominalMs, capacityMs(request.deadlineMs));
    return demands;
  }

  /** Many requests in long batches, which cost `overheadShare` by themselves. */
  static ofGroups(groups: readonly DueGroup[], overheadShare: number, capacityMs: Capacity): Demands {
    const demands = new Demands(1 + overheadShare, 0);
    for (const { dueMs, nominalMs } of groups) demands.#add(nominalMs, capacityMs(dueMs));
    return demands;
  }

  #add(nominalMs: Float64Array, capacityMs: number): void {
    this.#nominalMs.push(nominalMs);
    this.#capacityMs.push(capacityMs);
  }

  /**
   * Nominal ms left over at the tightest deadline, earliest first; negative where some deadline cannot be kept. `inserted` is another
   * demand, of which and of the later ones alone the rest is asked.
   */
  spareMs(priceIdx: number, inserted?: { neededMs: number; capacityMs: number }): number {
    let neededMs = 0;
    let spare = Infinity;
    let isIn = inserted === undefined;
    for (let idx = 0; idx < this.#capacityMs.length; ++idx) {
      const capacityMs = this.#capacityMs[idx]!;
      if (!isIn && capacityMs > inserted!.capacityMs) {
        neededMs += inserted!.neededMs;
        spare = inserted!.capacityMs - neededMs;
        isIn = true;
      }
      neededMs += this.#nominalMs[idx]![priceIdx]! * this.#factor + this.#extraMs;
      if (isIn) spare = Math.min(spare, capacityMs - neededMs);
    }
    return isIn ? spare : inserted!.capacityMs - neededMs - inserted!.neededMs;
  }

  /** The lowest price at which every deadline can be kept, earliest deadline first; the highest where none is. */
  smallestFeasiblePrice(numPrices: number): number {
    let low = 0;
    let high = numPrices - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.spareMs(middle) >= 0) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Nominal ms that can be worked off until a time. */
type Capacity = (dueMs: number) => number;
