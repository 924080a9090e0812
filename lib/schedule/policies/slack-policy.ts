/** Our policy: levels by the time that is left before deadlines, traded at one price for all that wait; earliest deadline first. */
import type { Waiting } from '../backlog.js';
import type { Admission, Assignment, WaitingRequest } from '../types.js';
import { Demands } from './demands.js';
import type { Policy, ScheduleState } from './policy.js';

export interface SlackOptions {
  /** kept before each deadline, for what happens after the batch has run; default 0 */
  marginMs?: number | undefined;
  /** part of the time until a deadline that is planned with, in (0, 1]; the rest is for what estimates miss; default 0.9 */
  plannedShare?: number | undefined;
  /** part of the machine that requests without a deadline get at any load, in [0, 1); default 0.05 */
  untimedShare?: number | undefined;
  /** longest batch of requests without a deadline, unless one alone takes longer: what others may wait for it; default 5 */
  untimedSliceMs?: number | undefined;
  /** bounds a batch's memory; default 8192 */
  maxBatchTokens?: number | undefined;
}

/** Up to so many waiting requests are looked at one by one, more of them by groups that are due together. */
const mostSingle = 32;
/** A batch grows until what it costs by itself is this part of it; a longer one would only make the next requests wait. */
const overheadShare = 0.05;

export function slackPolicy(options: SlackOptions = {}): Policy {
  const { marginMs = 0, plannedShare = 0.9, untimedShare = 0.05 } = options;
  const { untimedSliceMs = 5, maxBatchTokens = 8192 } = options;
  const limits: Limits = { marginMs, plannedShare, untimedShare, untimedSliceMs, maxBatchTokens };
  return {
    name: 'slack',
    order: 'deadline',
    untimedShare,
    admit: (request, state) => admit(request, state, limits),
    choose(state) {
      const { backlog } = state;
      const numUntimed = backlog.size - backlog.numTimed;
      if (numUntimed > 0 && (backlog.numTimed === 0 || hasUntimedTurn(state))) {
        return untimedBatch(state, limits);
      }
      return timedBatch(state, limits);
    },
  };
}

type Limits = Required<{ [Name in keyof SlackOptions]: number }>;

/** Nominal ms that can be worked off until `dueMs`. */
function capacityMs(dueMs: number, state: ScheduleState, limits: Limits): number {
  const { nowMs, freeAtMs, backlog, cost } = state;
  const leftMs = (dueMs - nowMs - limits.marginMs) * limits.plannedShare - (freeAtMs - nowMs);
  const share = backlog.size > backlog.numTimed ? 1 - limits.untimedShare : 1;
  return (leftMs * share) / cost.slowdown;
}

/**
 * Levels are chosen as if as much time was needed for those who will come as for those who came lately: who waits long at large
 * levels gains nothing by it in the long run, and leaves no time for a burst.
 */
function reservedFor({ smallestLoad, cost }: ScheduleState, limits: Limits): Limits {
  const share = Math.min(1, smallestLoad * cost.slowdown);
  return { ...limits, plannedShare: limits.plannedShare * (1 - share) };
}

/** Whether it, and all that wait with a later deadline, can be done in time with everybody at their smallest level. */
function admit(request: WaitingRequest, state: ScheduleState, limits: Limits): Admission {
  if (request.deadlineMs === Infinity) return { isAdmitted: true };
  const { cost, backlog, grid } = state;
  const isLong = backlog.numTimed > mostSingle;
  const demands = isLong ? groupDemands(state, limits) : singleDemands(backlog.timed(), state, limits);
  const lateMs = -demands.spareMs(grid.prices.length - 1, {
    neededMs: cost.nominalMs(request.smallestIdx, request.work) + cost.coefficients.batchMs,
    capacityMs: capacityMs(request.deadlineMs, state, limits),
  });
  if (lateMs <= 0) return { isAdmitted: true };
  return { isAdmitted: false, retryAfterMs: Math.max(1, lateMs * cost.slowdown) };
}

function hasUntimedTurn({ backlog, cost, untimedCreditMs }: ScheduleState): boolean {
  const request = backlog.firstUntimed;
  if (request === undefined) return false;
  const members = [{ request, levelIdx: request.largestIdx }];
  return untimedCreditMs >= cost.slowdown * cost.nominalBatchMs(members);
}

/** Nobody waits for these: each at its largest level, in slices. */
function untimedBatch({ backlog, cost }: ScheduleState, limits: Limits): Assignment[] {
  const members: Assignment[] = [];
  let tokens = 0;
  let batchMs = cost.coefficients.batchMs;
  for (const { request } of backlog.untimed()) {
    const levelIdx = request.largestIdx;
    batchMs += cost.nominalMs(levelIdx, request.work);
    tokens += request.work.tokens;
    const isOver = batchMs * cost.slowdown > limits.untimedSliceMs || tokens > limits.maxBatchTokens;
    if (members.length > 0 && isOver) break;
    members.push({ request, levelIdx });
  }
  return members;
}

function timedBatch(state: ScheduleState, limits: Limits): Assignment[] {
  const { backlog } = state;
  const isLong = backlog.numTimed > mostSingle;
  const waiting = isLong ? backlog.timed() : savable([...backlog.timed()], state, limits);
  const reserved = reservedFor(state, limits);
  const demands = isLong ? groupDemands(state, reserved) : singleDemands(waiting, state, reserved);
  const members = fillBatch(waiting, demands, state, limits);
  if (members.length > 0) return members;
  // None can be answered in time any more, if estimates are right: the first gets its chance.
  const request = backlog.firstTimed;
  return request === undefined ? [] : [{ request, levelIdx: request.smallestIdx }];
}

/**
 * The requests that can be in time when each runs at its smallest level: all where possible, else as many as possible
 * (Moore, "An n Job, One Machine Sequencing Algorithm for Minimizing the Number of Late Jobs", 1968).
 */
function savable(waiting: readonly Waiting[], state: ScheduleState, limits: Limits): Waiting[] {
  const { cost } = state;
  const timeOf = ({ request }: Waiting): number =>
    cost.nominalMs(request.smallestIdx, request.work) + cost.coefficients.batchMs;
  const saved: Waiting[] = [];
  let neededMs = 0;
  for (const one of waiting) {
    saved.push(one);
    neededMs += timeOf(one);
    if (neededMs <= capacityMs(one.request.deadlineMs, state, limits)) continue;
    const longest = saved.reduce((at, other, idx) => (timeOf(other) > timeOf(saved[at]!) ? idx : at), 0);
    neededMs -= timeOf(saved[longest]!);
    saved.splice(longest, 1);
  }
  return saved;
}

function singleDemands(waiting: Iterable<Waiting>, state: ScheduleState, limits: Limits): Demands {
  const { batchMs } = state.cost.coefficients;
  return Demands.ofRequests(waiting, batchMs, (dueMs) => capacityMs(dueMs, state, limits));
}

function groupDemands(state: ScheduleState, limits: Limits): Demands {
  return Demands.ofGroups(state.backlog.groups, overheadShare, (dueMs) => capacityMs(dueMs, state, limits));
}

/** The first of `waiting`, at the levels of the lowest price at which all demands can be met in time. */
function fillBatch(
  waiting: Iterable<Waiting>,
  demands: Demands,
  state: ScheduleState,
  limits: Limits,
): Assignment[] {
  const { cost, grid } = state;
  const { batchMs } = cost.coefficients;
  const priceIdx = demands.smallestFeasiblePrice(grid.prices.length);
  const batch: Batch = { chosen: [], members: [], neededMs: batchMs, limitMs: 0 };
  let tokens = 0;
  let numSkipped = 0;
  for (const one of waiting) {
    const { request, choices } = one;
    const levelIdx = choices.levelIdxs[priceIdx]!;
    const ownMs = choices.nominalMs[priceIdx]!;
    const untilDueMs = capacityMs(request.deadlineMs, state, limits);
    // It would be late and make others late. It stays until its deadline has passed.
    if (batchMs + ownMs > untilDueMs && numSkipped++ < mostSingle) continue;
    tokens += request.work.tokens;
    if (batch.members.length === 0) {
      // All members are done together, so the first one's deadline is the batch's.
      batch.limitMs = untilDueMs;
    } else {
      const isLong = batch.neededMs > batchMs / overheadShare || tokens > limits.maxBatchTokens;
      if (isLong || batch.neededMs + ownMs > batch.limitMs) break;
    }
    batch.neededMs += ownMs;
    batch.chosen.push(one);
    batch.members.push({ request, levelIdx });
  }
  spend(batch, demands, priceIdx, state);
  return batch.members;
}

interface Batch {
  chosen: Waiting[];
  members: Assignment[];
  /** nominal */
  neededMs: number;
  /** nominal: when the first member is due */
  limitMs: number;
}

/**
 * Gives members larger levels in the time that the next lower price asks too much of. At that price some request could not be
 * in time; between the two prices, it is as good to give the first ones what they take there and the last ones nothing as any
 * other way, since they trade at nearly the same price. Where nobody else waits, all of the time is theirs.
 */
function spend(batch: Batch, demands: Demands, priceIdx: number, state: ScheduleState): void {
  const { cost, backlog } = state;
  let leftMs = Math.min(demands.spareMs(priceIdx), batch.limitMs - batch.neededMs);
  const isLast = batch.members.length === backlog.size;
  for (let cheaper = priceIdx - 1; cheaper >= 0 && leftMs > 0; --cheaper) {
    for (const [idx, member] of batch.members.entries()) {
      const { work } = member.request;
      const presentMs = cost.nominalMs(member.levelIdx, work);
      const most = batch.chosen[idx]!.choices.levelIdxs[cheaper]!;
      for (let levelIdx = most; levelIdx < member.levelIdx; ++levelIdx) {
        const moreMs = cost.nominalMs(levelIdx, work) - presentMs;
        if (moreMs > leftMs) continue;
        member.levelIdx = levelIdx;
        leftMs -= moreMs;
        break;
      }
    }
    if (!isLast) return;
  }
}
