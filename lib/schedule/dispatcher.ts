/**
 * The schedule as a state machine under somebody else's clock: requests come in, batches go out, one at a time. It has no
 * timers and no promises, so that a server and a simulator drive the very same code.
 */
import { describeValue, ElasticError } from '../errors.js';
import { Backlog } from './backlog.js';
import type { CostModel } from './cost-model.js';
import { LoadEstimate } from './load-estimate.js';
import type { Policy, ScheduleState } from './policies/index.js';
import { PriceGrid } from './price-grid.js';
import type { Assignment, LevelQuality, Priority, WaitingRequest, Work } from './types.js';

export interface DispatcherOptions {
  /** falling */
  levels: readonly LevelQuality[];
  /** of the same levels */
  cost: CostModel;
  policy: Policy;
  /** requests that may wait at a time; default 10000 */
  maxQueued?: number | undefined;
}

export interface NewRequest {
  work: Work;
  /** on the caller's clock; Infinity: none */
  deadlineMs: number;
  /** default: the smallest and the largest there are */
  minLevel?: number | undefined;
  maxLevel?: number | undefined;
  /** default 'interactive' */
  priority?: Priority | undefined;
}

export type Submission =
  | { isAdmitted: true; request: WaitingRequest }
  | { isAdmitted: false; reason: 'deadline' | 'full'; retryAfterMs: number };

/** What next() takes from the backlog. */
export interface Dispatch {
  /** runs together; empty when only expired requests waited */
  members: Assignment[];
  /** their deadline has passed: never computed */
  expired: WaitingRequest[];
}

interface Running {
  members: readonly Assignment[];
  expectedEndMs: number;
  /** without a deadline, in others' time */
  isUntimedTurn: boolean;
}

const defaultMaxQueued = 10_000;

export class Dispatcher {
  readonly #levels: readonly LevelQuality[];
  readonly #cost: CostModel;
  readonly #policy: Policy;
  readonly #maxQueued: number;
  readonly #grid: PriceGrid;
  readonly #backlog: Backlog;
  /** of the smallest levels that requests allow, in nominal ms */
  readonly #smallestLoad = new LoadEstimate();
  #nextId = 0;
  #untimedCreditMs = 0;
  #running: Running | undefined;

  /** @throws ELASTICLM_ARGUMENT_INVALID */
  constructor(options: DispatcherOptions) {
    const { levels, cost, policy, maxQueued = defaultMaxQueued } = options;
    checkLevels(levels, cost);
    if (!(maxQueued >= 1)) throw invalid('maxQueued', 'a number of at least 1', maxQueued);
    this.#levels = levels;
    this.#cost = cost;
    this.#policy = policy;
    this.#maxQueued = maxQueued;
    this.#grid = new PriceGrid(levels, cost);
    this.#backlog = new Backlog({ grid: this.#grid, order: policy.order });
  }

  get numWaiting(): number {
    return this.#backlog.size;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** @throws ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_ARGUMENT_INVALID (minLevel above maxLevel, a deadline that is no number) */
  submit(nowMs: number, request: NewRequest): Submission {
    const waiting = this.#waitingOf(nowMs, request);
    const state = this.#stateAt(nowMs);
    const isTimed = waiting.deadlineMs !== Infinity;
    if (isTimed) this.#smallestLoad.add(nowMs, this.#cost.nominalMs(waiting.smallestIdx, waiting.work));
    if (this.#backlog.size >= this.#maxQueued) {
      return { isAdmitted: false, reason: 'full', retryAfterMs: Math.max(1, state.freeAtMs - nowMs) };
    }
    const admission = this.#policy.admit(waiting, state);
    if (!admission.isAdmitted) return { ...admission, reason: 'deadline' };
    this.#backlog.add(waiting);
    return { isAdmitted: true, request: waiting };
  }

  /** The next batch, for the caller to run and then finish(); undefined while one runs or none waits. */
  next(nowMs: number): Dispatch | undefined {
    if (this.#running !== undefined || this.#backlog.size === 0) return undefined;
    const expired = this.#takeExpired(nowMs);
    const members = this.#backlog.size === 0 ? [] : this.#policy.choose(this.#stateAt(nowMs));
    if (members.length === 0) return { members, expired };
    for (const { request } of members) this.#backlog.remove(request.id);
    const expectedMs = this.#cost.slowdown * this.#cost.nominalBatchMs(members);
    const isUntimedTurn = members[0]!.request.deadlineMs === Infinity && this.#backlog.numTimed > 0;
    this.#running = { members, expectedEndMs: nowMs + expectedMs, isUntimedTurn };
    return { members, expired };
  }

  /** The batch of the last next() has run, or failed: then its time teaches nothing and is left out. */
  finish(serviceMs?: number): void {
    if (this.#running === undefined) return;
    const { members, isUntimedTurn } = this.#running;
    this.#running = undefined;
    if (serviceMs === undefined) return;
    this.#cost.observe(members, serviceMs);
    const numUntimed = this.#backlog.size - this.#backlog.numTimed;
    if (isUntimedTurn) this.#untimedCreditMs -= serviceMs;
    else if (numUntimed > 0) this.#untimedCreditMs += this.#policy.untimedShare * serviceMs;
  }

  /** A waiting request is given up. False when it does not wait (any more). */
  cancel(id: number): boolean {
    return this.#backlog.remove(id);
  }

  /** Those at the head of the backlog whose deadline has passed; others are found when they come there. */
  #takeExpired(nowMs: number): WaitingRequest[] {
    const expired: WaitingRequest[] = [];
    for (;;) {
      const first = this.#backlog.firstTimed;
      if (first === undefined || first.deadlineMs > nowMs) return expired;
      expired.push(first);
      this.#backlog.remove(first.id);
    }
  }

  #stateAt(nowMs: number): ScheduleState {
    return {
      nowMs,
      freeAtMs: Math.max(nowMs, this.#running?.expectedEndMs ?? nowMs),
      smallestLoad: this.#smallestLoad.at(nowMs),
      untimedCreditMs: this.#untimedCreditMs,
      backlog: this.#backlog,
      cost: this.#cost,
      grid: this.#grid,
      levels: this.#levels,
    };
  }

  #waitingOf(nowMs: number, request: NewRequest): WaitingRequest {
    const { work, deadlineMs, minLevel, maxLevel, priority = 'interactive' } = request;
    if (typeof deadlineMs !== 'number' || Number.isNaN(deadlineMs)) {
      throw invalid('deadline', 'a time in milliseconds', deadlineMs);
    }
    const bounds = this.#boundsOf(minLevel, maxLevel);
    return { id: this.#nextId++, work, arrivalMs: nowMs, deadlineMs, ...bounds, priority };
  }

  #boundsOf(minLevel = 0, maxLevel = 1): Pick<WaitingRequest, 'largestIdx' | 'smallestIdx'> {
    const largestIdx = this.#levels.findIndex(({ level }) => level <= maxLevel);
    const smallestIdx = this.#levels.findLastIndex(({ level }) => level >= minLevel);
    if (largestIdx >= 0 && smallestIdx >= largestIdx) return { largestIdx, smallestIdx };
    throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
      expected: `bounds with one of ${this.#levels.map(({ level }) => level).join(', ')} between them`,
      subject: 'minLevel and maxLevel',
      received: `${describeValue(minLevel)} and ${describeValue(maxLevel)}`,
    });
  }
}

function checkLevels(levels: readonly LevelQuality[], cost: CostModel): void {
  if (levels.length !== cost.coefficients.levels.length) {
    throw invalid('cost', `coefficients of ${levels.length} levels`, cost.coefficients.levels.length);
  }
  for (const [idx, { level, quality }] of levels.entries()) {
    const before = levels[idx - 1];
    if (!(quality > 0) || (before !== undefined && !(before.level > level && before.quality >= quality))) {
      throw invalid('levels', 'levels that fall, with qualities above 0 that do not rise', levels);
    }
  }
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `the schedule's ${subject}`,
    received: describeValue(received),
  });
}
