/** What a model can be asked to run on and in. */
import { checkThreads } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import type { Backend, Precision } from '../types.js';

export interface LoadOptions {
  /**
   * Where to run. 'cuda': on a GPU of compute capability 8.0 or later, or not at all. 'auto': on a GPU where the library
   * of the cuda backend is there, a GPU can be used and the model has heads of 32 or 64; else on the cpu, and
   * `info().backendReason` says why. Default: ELASTICLM_BACKEND, else 'auto'.
   */
  backend?: Backend;
  /**
   * What to compute in. On the cpu 'f32', which 'auto' chooses there so that results compare with those of other runtimes;
   * 'bf16', about twice as fast where the processor multiplies bf16 and with vectors nearly the same; or 'i8', about three
   * times as fast where it multiplies bytes and a little less exact: docs/design/0006-cpu-precisions.md. On a GPU 'bf16',
   * which 'auto' chooses there, 'f16', or 'f32' with plain kernels, slow and for comparison. Backend 'auto' computes 'f32' and
   * 'i8' on the cpu.
   */
  precision?: Precision;
  /** position of the GPU among those that the driver shows; default 0 */
  device?: number;
  /**
   * On the cpu the threads that compute; default: ELASTICLM_THREADS, else the processors that this process may use. On a
   * GPU the forwards in flight at a time, at most 16; default 2.
   */
  threads?: number;
}

/** Load options, checked and completed. */
export interface LoadRequest {
  backend: Backend;
  precision: Precision;
  device: number;
  threads: number | undefined;
}

const backends: readonly unknown[] = ['auto', 'cpu', 'cuda'] satisfies Backend[];
/** By backend: those of 'auto' are what either of the others computes in. */
const precisionsOf = {
  cpu: ['auto', 'f32', 'bf16', 'i8'],
  cuda: ['auto', 'f32', 'bf16', 'f16'],
  auto: ['auto', 'f32', 'bf16', 'f16', 'i8'],
} as const satisfies Record<Backend, readonly Precision[]>;
/** More than any machine has; a larger number is a mistake. */
const maxDevices = 1024;

/** @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_PRECISION_UNSUPPORTED */
export function checkLoadOptions(options: LoadOptions): LoadRequest {
  const backend = checkBackend(options.backend);
  const { threads } = options;
  if (threads !== undefined) checkThreads(threads, threads, 'options.threads');
  return {
    backend,
    precision: checkPrecision(options.precision ?? 'auto', backend),
    device: checkDevice(options.device, backend),
    threads,
  };
}

function checkBackend(option: unknown): Backend {
  const named = process.env.ELASTICLM_BACKEND;
  const fromEnvironment = option === undefined && named !== undefined && named !== '';
  const backend = option ?? (fromEnvironment ? named : 'auto');
  if (backends.includes(backend)) return backend as Backend;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: "'auto', 'cpu' or 'cuda'",
    subject: fromEnvironment ? 'environment variable ELASTICLM_BACKEND' : 'options.backend',
    received: describeValue(backend),
    remedy: "Leave it out, or choose 'cpu'",
  });
}

/**
 * `whyCpu` says why backend 'auto' chose the cpu.
 * @throws ELASTICLM_PRECISION_UNSUPPORTED
 */
export function checkPrecision<B extends Backend>(
  precision: Precision,
  backend: B,
  whyCpu?: string,
): (typeof precisionsOf)[B][number] {
  const known: readonly Precision[] = precisionsOf[backend];
  if (known.includes(precision)) return precision;
  const last = known.length - 1;
  const names = known.map((name) => `'${name}'`);
  const reason = whyCpu === undefined ? '' : `. Backend 'auto' chose the cpu: ${whyCpu}`;
  throw ElasticError.of('ELASTICLM_PRECISION_UNSUPPORTED', {
    expected: `${names.slice(0, last).join(', ')} or ${names[last]}, the precisions of backend '${backend}'`,
    subject: 'options.precision',
    received: describeValue(precision),
    remedy: `Leave it out, or choose 'bf16'; checkpoints stored as F16 or BF16 load in every precision${reason}`,
  });
}

function checkDevice(option: unknown, backend: Backend): number {
  if (option === undefined) return 0;
  const valid = typeof option === 'number' && Number.isInteger(option) && option >= 0 && option < maxDevices;
  if (valid && backend !== 'cpu') return option;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: valid ? "none on backend 'cpu', which uses no GPU" : 'the position of a GPU, from 0',
    subject: 'options.device',
    received: describeValue(option),
    remedy: 'Leave it out to use the first one',
  });
}
