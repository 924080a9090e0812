/** When requests come: processes with a seed. Recorded ones are in trace.ts. */
import { ElasticError } from '../../errors.js';
import type { CostModel } from '../cost-model.js';
import type { Priority, Work } from '../types.js';
import { RandomStream } from './random-stream.js';
import { checkSizes, drawTokens, meanOverSizes, sequenceWork, type RequestSizes } from './request-sizes.js';

/** One request before anybody has taken it. */
export interface Arrival {
  /** virtual time */
  arrivalMs: number;
  work: Work;
  /** from its arrival; default: what the simulation's SLO gives */
  deadlineMs?: number | undefined;
  /** default 'interactive' */
  priority?: Priority | undefined;
}

export type ArrivalProcess =
  /** at equal distances, the first after one of them */
  | { kind: 'constant'; ratePerSecond: number }
  | { kind: 'poisson'; ratePerSecond: number }
  /**
   * Markov-modulated Poisson process: Poisson at the rate of the present state, which holds for an exponential time; then any of
   * the other states, each as likely.
   */
  | { kind: 'mmpp'; states: readonly MmppState[] }
  /** Poisson whose rate swings around ratePerSecond by this part of it, in [0, 1], as a cosine does; it begins at its lowest */
  | { kind: 'diurnal'; ratePerSecond: number; amplitude: number; periodMs: number };

export interface MmppState {
  ratePerSecond: number;
  /** how long it holds, on average */
  meanDwellMs: number;
}

export interface ArrivalOptions {
  process: ArrivalProcess;
  sizes: RequestSizes;
  /** none comes at this time or later */
  durationMs: number;
  seed: number;
}

/** What draws for different ends draws from different streams. */
const streams = { times: 1, states: 2, sizes: 3 } as const;
const secondMs = 1000;

/**
 * Rising by time, and the same for the same options.
 * @throws ELASTICLM_ARGUMENT_INVALID
 */
export function arrivals(options: ArrivalOptions): Iterable<Arrival> {
  const { process, sizes, durationMs, seed } = options;
  checkProcess(process);
  checkSizes(sizes);
  if (!(durationMs > 0 && durationMs < Infinity)) throw invalid('durationMs', 'ms above 0', durationMs);
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalid('seed', 'a whole number of at least 0', seed);
  return { [Symbol.iterator]: () => generate(options) };
}

function* generate({ process, sizes, durationMs, seed }: ArrivalOptions): Generator<Arrival> {
  const random = new RandomStream(seed, streams.sizes);
  for (const arrivalMs of times(process, seed)) {
    if (arrivalMs >= durationMs) return;
    yield { arrivalMs, work: sequenceWork(drawTokens(sizes, random)) };
  }
}

function times(process: ArrivalProcess, seed: number): Generator<number> {
  const random = new RandomStream(seed, streams.times);
  switch (process.kind) {
    case 'constant':
      return constantTimes(process.ratePerSecond);
    case 'poisson':
      return poissonTimes(process.ratePerSecond, random);
    case 'mmpp':
      return mmppTimes(process.states, random, new RandomStream(seed, streams.states));
    case 'diurnal':
      return diurnalTimes(process, random);
  }
}

function* constantTimes(ratePerSecond: number): Generator<number> {
  // Multiples of the distance, since a sum of a million of them would drift.
  for (let count = 1; ; ++count) yield (count * secondMs) / ratePerSecond;
}

function* poissonTimes(ratePerSecond: number, random: RandomStream): Generator<number> {
  for (let atMs = 0; ;) {
    atMs += random.exponential(secondMs / ratePerSecond);
    yield atMs;
  }
}

function* mmppTimes(
  states: readonly MmppState[],
  random: RandomStream,
  stateRandom: RandomStream,
): Generator<number> {
  let stateIdx = firstState(states, stateRandom);
  for (let beginMs = 0; ;) {
    const { ratePerSecond, meanDwellMs } = states[stateIdx]!;
    const endMs = beginMs + stateRandom.exponential(meanDwellMs);
    // A Poisson process has no memory: it may begin anew with every state.
    if (ratePerSecond > 0) {
      for (let atMs = beginMs; ;) {
        atMs += random.exponential(secondMs / ratePerSecond);
        if (atMs >= endMs) break;
        yield atMs;
      }
    }
    beginMs = endMs;
    const step = 1 + Math.floor(stateRandom.uniform() * (states.length - 1));
    stateIdx = (stateIdx + step) % states.length;
  }
}

/** As likely as it is to find the process in it at any time: each state is entered equally often. */
function firstState(states: readonly MmppState[], random: RandomStream): number {
  let left = random.uniform() * states.reduce((sum, { meanDwellMs }) => sum + meanDwellMs, 0);
  const idx = states.findIndex(({ meanDwellMs }) => (left -= meanDwellMs) < 0);
  return Math.max(0, idx);
}

/** Thinning: a Poisson process of the highest rate, of which each arrival is kept with the part that the rate is of it (Lewis and Shedler, 1979). */
function* diurnalTimes(process: Diurnal, random: RandomStream): Generator<number> {
  const { ratePerSecond, amplitude, periodMs } = process;
  const highest = 1 + amplitude;
  for (const atMs of poissonTimes(ratePerSecond * highest, random)) {
    const now = 1 - amplitude * Math.cos((2 * Math.PI * atMs) / periodMs);
    if (random.uniform() * highest < now) yield atMs;
  }
}

type Diurnal = Extract<ArrivalProcess, { kind: 'diurnal' }>;

/** Requests per second in the long run. */
export function meanRate(process: ArrivalProcess): number {
  if (process.kind !== 'mmpp') return process.ratePerSecond;
  let requests = 0;
  let dwellMs = 0;
  for (const state of process.states) {
    requests += state.ratePerSecond * state.meanDwellMs;
    dwellMs += state.meanDwellMs;
  }
  return requests / dwellMs;
}

/** The process with all rates multiplied by the same factor, so that its mean rate becomes this one. */
export function withMeanRate(process: ArrivalProcess, ratePerSecond: number): ArrivalProcess {
  if (process.kind !== 'mmpp') return { ...process, ratePerSecond };
  const factor = ratePerSecond / meanRate(process);
  const states = process.states.map((state) => ({ ...state, ratePerSecond: state.ratePerSecond * factor }));
  return { ...process, states };
}

/** Time of a request that runs alone at the largest level: what loads are counted in. */
export function aloneMs(cost: CostModel, work: Work): number {
  return cost.coefficients.batchMs + cost.nominalMs(0, work);
}

/** Requests per second at a load: 1 keeps a server busy all the time that runs each request alone at the largest level. */
export function rateAtLoad(load: number, sizes: RequestSizes, cost: CostModel): number {
  checkSizes(sizes);
  if (!(load > 0 && load < Infinity)) throw invalid('load', 'a number above 0', load);
  return (load * secondMs) / meanOverSizes(sizes, (work) => aloneMs(cost, work));
}

function checkProcess(process: ArrivalProcess): void {
  if (process.kind === 'mmpp') {
    checkStates(process.states);
    return;
  }
  const { ratePerSecond } = process;
  if (!isAbove0(ratePerSecond)) throw invalid('ratePerSecond', 'requests per second above 0', ratePerSecond);
  if (process.kind !== 'diurnal') return;
  const { amplitude, periodMs } = process;
  if (!(amplitude >= 0 && amplitude <= 1)) throw invalid('amplitude', 'a part from 0 to 1', amplitude);
  if (!isAbove0(periodMs)) throw invalid('periodMs', 'ms above 0', periodMs);
}

function checkStates(states: readonly MmppState[]): void {
  if (states.length < 2) throw invalid('states', 'at least two', states.length);
  for (const { ratePerSecond, meanDwellMs } of states) {
    if (!(ratePerSecond >= 0 && ratePerSecond < Infinity)) {
      throw invalid("a state's ratePerSecond", 'requests per second of at least 0', ratePerSecond);
    }
    if (!isAbove0(meanDwellMs)) throw invalid("a state's meanDwellMs", 'ms above 0', meanDwellMs);
  }
  if (states.every(({ ratePerSecond }) => ratePerSecond === 0)) {
    throw invalid('states', 'one with a rate above 0', 'none');
  }
}

function isAbove0(value: number): boolean {
  return value > 0 && value < Infinity;
}

function invalid(subject: string, expected: string, received: number | string): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `the arrivals' ${subject}`,
    received: String(received),
  });
}
