/** What decides: which requests are taken, which run next, and at which level. */
import type { Backlog, Order } from '../backlog.js';
import type { CostModel } from '../cost-model.js';
import type { PriceGrid } from '../price-grid.js';
import type { Admission, Assignment, LevelQuality, WaitingRequest } from '../types.js';

/** All that a policy may look at. */
export interface ScheduleState {
  nowMs: number;
  /** when the running batch is expected to end; nowMs when none runs */
  freeAtMs: number;
  /** what comes of requests with a deadline, at the smallest level of each: nominal ms in a ms */
  smallestLoad: number;
  /** time that requests without a deadline may take before others' turn, earned while they waited */
  untimedCreditMs: number;
  backlog: Backlog;
  cost: CostModel;
  grid: PriceGrid;
  levels: readonly LevelQuality[];
}

/** Pure functions of state and clock, so that a simulator and a server run the very same one. */
export interface Policy {
  readonly name: string;
  /** what the backlog is ordered by */
  readonly order: Order;
  /** part of the time of other batches that requests without a deadline are owed while they wait, in [0, 1) */
  readonly untimedShare: number;
  /** Whether a request that does not wait yet is taken. */
  admit(request: WaitingRequest, state: ScheduleState): Admission;
  /** The next batch: at least one request while any waits. */
  choose(state: ScheduleState): Assignment[];
}

/** The first of the backlog, those with a deadline before those without. */
export function firstWaiting({ backlog }: ScheduleState): WaitingRequest | undefined {
  return backlog.firstTimed ?? backlog.firstUntimed;
}

/** The levelIdx nearest to `levelIdx` that the request may run at. */
export function withinBounds(levelIdx: number, { largestIdx, smallestIdx }: WaitingRequest): number {
  return Math.min(smallestIdx, Math.max(largestIdx, levelIdx));
}
