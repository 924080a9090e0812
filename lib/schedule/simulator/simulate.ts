/** A server in virtual time: the dispatcher and policies that serve, under a clock that jumps from event to event. */
import { ElasticError, throwIfAborted } from '../../errors.js';
import { Slices } from '../../slices.js';
import { CostModel, type CostCoefficients } from '../cost-model.js';
import { Dispatcher } from '../dispatcher.js';
import type { Policy } from '../policies/index.js';
import type { LevelQuality } from '../types.js';
import type { Arrival } from './arrivals.js';
import { RequestLog } from './request-log.js';
import { ServiceTimes, type ServiceTruth } from './service-times.js';

export interface SimulationOptions {
  /** rising by time; read as the simulation comes to them, so there may be any number */
  arrivals: Iterable<Arrival>;
  /** falling */
  levels: readonly LevelQuality[];
  /** what the policy's cost model starts with */
  coefficients: CostCoefficients;
  policy: Policy;
  /** for requests that name no deadline of their own: interactive ones get this, bulk ones none, as in ElasticScheduler */
  slo: { deadlineMs: number };
  /** what batches really take; default: what the cost model says */
  truth?: ServiceTruth | undefined;
  /** requests that may wait at a time; default 10000 */
  maxQueued?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Plays all arrivals and serves until none waits. Long simulations let the event loop take its turns.
 * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED, and what the policy throws
 */
export async function simulate(options: SimulationOptions): Promise<RequestLog> {
  throwIfAborted(options.signal);
  const server = new Server(options);
  const slices = new Slices(options.signal);
  const arrivals = options.arrivals[Symbol.iterator]();
  for (let next = arrivals.next(); ;) {
    if (slices.isOver) await slices.next();
    const arrivalMs = next.done === true ? Infinity : next.value.arrivalMs;
    // Who comes as a batch ends may be in the next one.
    if (server.freeAtMs < arrivalMs) {
      server.finish();
    } else if (next.done === true) {
      return server.log;
    } else {
      server.arrive(next.value);
      next = arrivals.next();
      // A server takes all that came in one go before it begins a batch.
      if (next.done !== true && next.value.arrivalMs <= server.nowMs) continue;
    }
    server.dispatch();
  }
}

/** What the dispatcher runs on, and the clock. */
class Server {
  readonly log = new RequestLog();
  nowMs = 0;
  /** when the running batch ends; Infinity while none runs */
  freeAtMs = Infinity;
  readonly #dispatcher: Dispatcher;
  readonly #serviceTimes: ServiceTimes;
  readonly #sloMs: number;
  /** of waiting requests, by id */
  readonly #rows = new Map<number, number>();
  #batchBeginMs = 0;

  constructor({ levels, coefficients, policy, slo, truth = {}, maxQueued }: SimulationOptions) {
    if (!(slo.deadlineMs > 0)) throw invalid('slo.deadlineMs', 'ms above 0', slo.deadlineMs);
    this.#dispatcher = new Dispatcher({ levels, cost: new CostModel(coefficients), policy, maxQueued });
    this.#serviceTimes = new ServiceTimes(truth, coefficients);
    this.#sloMs = slo.deadlineMs;
  }

  arrive({ arrivalMs, work, priority, deadlineMs }: Arrival): void {
    if (!(arrivalMs >= this.nowMs)) {
      throw invalid('arrivals', `a time of at least ${this.nowMs} ms, as before`, arrivalMs);
    }
    this.nowMs = arrivalMs;
    const dueMs = arrivalMs + (deadlineMs ?? (priority === 'bulk' ? Infinity : this.#sloMs));
    const row = this.log.add(arrivalMs, dueMs);
    const submission = this.#dispatcher.submit(arrivalMs, { work, priority, deadlineMs: dueMs });
    if (submission.isAdmitted) this.#rows.set(submission.request.id, row);
    else this.log.refuse(row, arrivalMs);
  }

  /** Begins a batch, if there is none and a request waits. */
  dispatch(): void {
    const dispatch = this.#dispatcher.next(this.nowMs);
    if (dispatch === undefined) return;
    for (const { id } of dispatch.expired) this.log.expire(this.#take(id), this.nowMs);
    if (dispatch.members.length === 0) return;
    this.#batchBeginMs = this.nowMs;
    this.freeAtMs = this.nowMs + this.#serviceTimes.batchMs(dispatch.members, this.nowMs);
    this.log.serve({
      startMs: this.nowMs,
      endMs: this.freeAtMs,
      members: dispatch.members.map(({ request, levelIdx }) => ({ row: this.#take(request.id), levelIdx })),
    });
  }

  /** Ends the running batch. */
  finish(): void {
    this.nowMs = this.freeAtMs;
    this.freeAtMs = Infinity;
    this.#dispatcher.finish(this.nowMs - this.#batchBeginMs);
  }

  #take(id: number): number {
    const row = this.#rows.get(id)!;
    this.#rows.delete(id);
    return row;
  }
}

function invalid(subject: string, expected: string, received: number): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', { expected, subject, received: String(received) });
}
