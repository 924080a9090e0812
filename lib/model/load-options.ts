/** What this build can be asked to run on and in. */
import { describeValue, ElasticError } from '../errors.js';

/** @throws ELASTICLM_BACKEND_UNAVAILABLE, ELASTICLM_ARGUMENT_INVALID */
export function checkBackend(backend: unknown): void {
  if (backend === undefined || backend === 'auto' || backend === 'cpu') return;
  throw ElasticError.of(backend === 'cuda' ? 'ELASTICLM_BACKEND_UNAVAILABLE' : 'ELASTICLM_ARGUMENT_INVALID', {
    expected: "'auto' or 'cpu', the backends of this build",
    subject: 'options.backend',
    received: describeValue(backend),
    remedy: "Leave it out, or choose 'cpu'",
  });
}

/** @throws ELASTICLM_PRECISION_UNSUPPORTED */
export function checkPrecision(precision: unknown): void {
  if (precision === undefined || precision === 'auto' || precision === 'f32') return;
  throw ElasticError.of('ELASTICLM_PRECISION_UNSUPPORTED', {
    expected: "'auto' or 'f32', the precisions that the cpu backend computes in",
    subject: 'options.precision',
    received: describeValue(precision),
    remedy: "Leave it out, or choose 'f32'; checkpoints stored as F16 or BF16 load all the same",
  });
}
