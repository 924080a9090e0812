/** The schedule in real time: requests in, results out, batches run by an executor one after the other. */
import { abortError, ElasticError, throwIfAborted, type ErrorCode } from '../errors.js';
import type { CostModel } from './cost-model.js';
import { Dispatcher } from './dispatcher.js';
import { slackPolicy, type Policy } from './policies/index.js';
import type { Assignment, LevelQuality, Priority, WaitingRequest, Work } from './types.js';

/** What computes. */
export interface Executor<Request, Result> {
  /** falling */
  readonly levels: readonly LevelQuality[];
  workOf(request: Request): Work;
  /** Results in the members' order. A failure is every member's. */
  run(members: readonly Member<Request>[]): Promise<readonly Result[]>;
}

export interface Member<Request> {
  request: Request;
  level: number;
}

/** Service level objective. */
export interface Slo {
  /** from submission to result, for requests that name no deadline of their own */
  deadlineMs: number;
}

export interface SchedulerOptions<Request, Result> {
  executor: Executor<Request, Result>;
  /** of the executor's levels */
  cost: CostModel;
  slo: Slo;
  /** default slackPolicy() */
  policy?: Policy | undefined;
  /** requests that may wait at a time; default 10000 */
  maxQueued?: number | undefined;
}

export interface SubmitOptions {
  /**
   * from now, in ms; Infinity: none. Default: the SLO's for interactive requests, none for bulk.
   */
  deadlineMs?: number | undefined;
  /** the request runs at a level between these, both included; default: any */
  minLevel?: number | undefined;
  maxLevel?: number | undefined;
  /** default 'interactive' */
  priority?: Priority | undefined;
  signal?: AbortSignal | undefined;
}

export interface Served<Result> {
  result: Result;
  /** that it ran at */
  level: number;
  /** from submission to the start of its batch */
  queueDelayMs: number;
  /** of its batch */
  serviceMs: number;
  /** requests that ran together */
  batchSize: number;
  /** false: it was answered after its deadline */
  isInTime: boolean;
}

/** Requests counted since the beginning, but for the first three. */
export interface SchedulerStats {
  waiting: number;
  /** in the batch that runs now */
  running: number;
  /** what batches really take over what the cost model's coefficients say */
  slowdown: number;
  /** answered, in time or late */
  served: number;
  late: number;
  /** refused: their deadline could not be kept, or the queue was full */
  shed: number;
  /** whose deadline passed while they waited */
  expired: number;
  aborted: number;
  failed: number;
  /** answered, by level */
  servedByLevel: Record<string, number>;
}

interface Pending<Request, Result> {
  request: Request;
  waiting: WaitingRequest;
  resolve: (served: Served<Result>) => void;
  reject: (error: unknown) => void;
  /** stops listening to the caller's signal */
  forget: () => void;
}

export class ElasticScheduler<Request, Result> {
  readonly #executor: Executor<Request, Result>;
  readonly #cost: CostModel;
  readonly #slo: Slo;
  readonly #dispatcher: Dispatcher;
  /** by id; those of the running batch are in it no more */
  readonly #pending = new Map<number, Pending<Request, Result>>();
  readonly #counts = { served: 0, late: 0, shed: 0, expired: 0, aborted: 0, failed: 0 };
  readonly #servedByLevel: Record<string, number>;
  #running = 0;
  #isPumpDue = false;
  #closed: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  /** @throws ELASTICLM_ARGUMENT_INVALID */
  constructor(options: SchedulerOptions<Request, Result>) {
    const { executor, cost, slo, policy = slackPolicy(), maxQueued } = options;
    if (!(slo.deadlineMs > 0)) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: 'milliseconds above 0',
        subject: 'slo.deadlineMs',
        received: String(slo.deadlineMs),
      });
    }
    this.#executor = executor;
    this.#cost = cost;
    this.#slo = slo;
    this.#dispatcher = new Dispatcher({ levels: executor.levels, cost, policy, maxQueued });
    this.#servedByLevel = Object.fromEntries(executor.levels.map(({ level }) => [level, 0]));
  }

  /**
   * Takes a request, or refuses it at once.
   * @throws ELASTICLM_DEADLINE_UNREACHABLE and ELASTICLM_QUEUE_FULL (both with `retryAfterMs`), ELASTICLM_DEADLINE_MISSED (it passed while
   * the request waited), ELASTICLM_CALL_ABORTED, ELASTICLM_SCHEDULER_CLOSED, ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_ARGUMENT_INVALID, and what
   * the executor throws
   */
  async submit(request: Request, options: SubmitOptions = {}): Promise<Served<Result>> {
    const { priority = 'interactive', signal } = options;
    const { deadlineMs: givenMs = priority === 'bulk' ? Infinity : this.#slo.deadlineMs } = options;
    throwIfAborted(signal);
    if (this.#closed !== undefined) {
      throw new ElasticError('ELASTICLM_SCHEDULER_CLOSED', 'the scheduler is closed and takes no requests');
    }
    const nowMs = performance.now();
    const submission = this.#dispatcher.submit(nowMs, {
      work: this.#executor.workOf(request),
      deadlineMs: nowMs + givenMs,
      minLevel: options.minLevel,
      maxLevel: options.maxLevel,
      priority,
    });
    if (!submission.isAdmitted) {
      this.#counts.shed += 1;
      throw refusal(submission, givenMs);
    }
    const waiting = submission.request;
    return new Promise<Served<Result>>((resolve, reject) => {
      const abort = (): void => this.#abort(waiting.id, abortError(signal!));
      signal?.addEventListener('abort', abort, { once: true });
      const forget = (): void => signal?.removeEventListener('abort', abort);
      this.#pending.set(waiting.id, { request, waiting, resolve, reject, forget });
      this.#pumpSoon();
    });
  }

  stats(): SchedulerStats {
    return {
      waiting: this.#dispatcher.numWaiting,
      running: this.#running,
      slowdown: this.#cost.slowdown,
      ...this.#counts,
      servedByLevel: { ...this.#servedByLevel },
    };
  }

  /** Takes no more requests and answers those it has. Every call returns the same promise. The executor stays open. */
  close(): Promise<void> {
    this.#closed ??= this.#isIdle
      ? Promise.resolve()
      : new Promise((resolve) => {
          this.#onIdle = resolve;
        });
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #isIdle(): boolean {
    return this.#pending.size === 0 && this.#running === 0;
  }

  /** After whatever runs now, so that requests submitted in one go can share a batch. */
  #pumpSoon(): void {
    if (this.#isPumpDue || this.#running > 0) return;
    this.#isPumpDue = true;
    setImmediate(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    const nowMs = performance.now();
    const dispatch = this.#dispatcher.next(nowMs);
    for (const { id, deadlineMs } of dispatch?.expired ?? []) this.#expire(id, nowMs - deadlineMs);
    if (dispatch === undefined || dispatch.members.length === 0) {
      if (this.#isIdle) this.#onIdle?.();
      return;
    }
    const members = dispatch.members.map((member) => ({ ...member, ...this.#take(member.request.id)! }));
    this.#running = members.length;
    void this.#run(dispatch.members, members, nowMs);
  }

  async #run(
    assignments: readonly Assignment[],
    batch: readonly Pending<Request, Result>[],
    beginMs: number,
  ): Promise<void> {
    const members = batch.map(({ request }, idx) => ({
      request,
      level: this.#executor.levels[assignments[idx]!.levelIdx]!.level,
    }));
    try {
      const results = await this.#executor.run(members);
      const endMs = performance.now();
      this.#dispatcher.finish(endMs - beginMs);
      for (const [idx, one] of batch.entries()) {
        this.#serve(one, {
          result: results[idx]!,
          level: members[idx]!.level,
          queueDelayMs: beginMs - one.waiting.arrivalMs,
          serviceMs: endMs - beginMs,
          batchSize: batch.length,
          isInTime: endMs <= one.waiting.deadlineMs,
        });
      }
    } catch (error) {
      this.#dispatcher.finish();
      this.#counts.failed += batch.length;
      for (const { reject } of batch) reject(error);
    }
    this.#running = 0;
    this.#pump();
  }

  #serve({ resolve }: Pending<Request, Result>, served: Served<Result>): void {
    this.#counts.served += 1;
    if (!served.isInTime) this.#counts.late += 1;
    this.#servedByLevel[served.level]! += 1;
    resolve(served);
  }

  #take(id: number): Pending<Request, Result> | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.forget();
    return pending;
  }

  #expire(id: number, lateMs: number): void {
    this.#counts.expired += 1;
    const message = `the deadline passed ${lateMs.toFixed(1)} ms ago, while the request waited`;
    this.#take(id)?.reject(new ElasticError('ELASTICLM_DEADLINE_MISSED', message));
  }

  #abort(id: number, error: ElasticError): void {
    if (!this.#dispatcher.cancel(id)) return;
    this.#counts.aborted += 1;
    this.#take(id)?.reject(error);
    if (this.#isIdle) this.#onIdle?.();
  }
}

function refusal({ reason, retryAfterMs }: Refusal, givenMs: number): ElasticError {
  const after = `Try again in ${Math.ceil(retryAfterMs)} ms`;
  const [code, message]: [ErrorCode, string] =
    reason === 'full'
      ? ['ELASTICLM_QUEUE_FULL', `as many requests wait as may. ${after}`]
      : [
          'ELASTICLM_DEADLINE_UNREACHABLE',
          `${givenMs} ms are too short for what waits already, even at the smallest level. ${after}`,
        ];
  return new ElasticError(code, message, { retryAfterMs });
}

interface Refusal {
  reason: 'deadline' | 'full';
  retryAfterMs: number;
}
