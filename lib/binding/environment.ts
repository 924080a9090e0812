/** What the machine and the environment variables decide: threads and instruction set. */
import { describeValue, ElasticError } from '../errors.js';
import { loadAddon } from './addon.js';
import { toElasticError } from './call.js';

/** More threads than any machine this runs on has; a larger number is a mistake, not a wish. */
const maxThreads = 1024;

/** Processors this process may use: affinity and cgroup quota respected. */
export function availableProcessors(): number {
  return loadAddon().availableProcessors();
}

/**
 * The number of threads to use: the option, else ELASTICLM_THREADS, else the available processors.
 * @throws ELASTICLM_ARGUMENT_INVALID
 */
export function resolveThreads(option: number | undefined): number {
  if (option !== undefined) return checkThreads(option, option, 'options.threads');
  const text = process.env.ELASTICLM_THREADS;
  if (text === undefined || text === '') return availableProcessors();
  return checkThreads(
    /^\d+$/.test(text) ? Number(text) : Number.NaN,
    text,
    'environment variable ELASTICLM_THREADS',
  );
}

/** @throws ELASTICLM_ARGUMENT_INVALID */
export function checkThreads(threads: number, received: unknown, subject: string): number {
  if (Number.isInteger(threads) && threads >= 1 && threads <= maxThreads) return threads;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: `a whole number from 1 to ${maxThreads}`,
    subject,
    received: describeValue(received),
    remedy: 'Leave it out to use the processors that this process may use',
  });
}

/** While one forward computes, the next one's input is copied and its launches are queued. */
const defaultStreams = 2;
/** A few forwards fill a GPU; more only wait for each other, and each holds scratch memory there. */
const maxStreams = 16;

/** Forwards in flight on a GPU. ELASTICLM_THREADS, which counts processors, has no say. @throws ELASTICLM_ARGUMENT_INVALID */
export function resolveStreams(option: number | undefined): number {
  if (option === undefined) return defaultStreams;
  return Math.min(checkThreads(option, option, 'options.threads'), maxStreams);
}

/**
 * The instruction set that runs: the one ELASTICLM_ISA names, else the best one of this processor.
 * @throws ELASTICLM_ISA_UNSUPPORTED
 */
export function resolveIsa(): string {
  try {
    return loadAddon().chooseIsa(process.env.ELASTICLM_ISA ?? '');
  } catch (error) {
    throw toElasticError(error);
  }
}
