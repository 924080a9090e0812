/** Typed arrays on their way into native code. */
import { ElasticError } from '../errors.js';

type TypedArray = Int32Array | Float32Array;

/**
 * The same values in memory that no other thread can change: native code copies what it is given, and a copy must not
 * change between its check and its use.
 */
export function unshared<Array extends TypedArray>(array: Array): Array {
  return array.buffer instanceof SharedArrayBuffer ? (array.slice() as Array) : array;
}

/**
 * A zeroed result array. Allocated here, before the work is queued, because here a failed allocation is an exception
 * (in Node-API it ends the process), because V8 counts it from the start, and because runtimes that forbid external
 * buffers (Electron) allow it.
 * @throws ELASTICLM_MEMORY_EXHAUSTED
 */
export function allocateFloats(length: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_MEMORY_EXHAUSTED',
      {
        expected: `room for ${length} floats`,
        subject: 'the result',
        received: cause instanceof Error ? cause.message : String(cause),
        remedy: 'Split the batch',
      },
      { cause },
    );
  }
}
