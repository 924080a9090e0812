/** Vectors as an i8 index stores them: `native/search/vector_index.h` says how. */
import { loadAddon } from './addon.js';
import { unshared } from './memory.js';

export interface QuantizedVectors {
  /** [count, codeStride(dims)] */
  codes: Uint8Array;
  /** [count] */
  scales: Float32Array;
}

const codeRowBytes = 64;

/** Bytes of one vector's codes: whole cache lines. */
function codeStride(dims: number): number {
  return Math.ceil(dims / codeRowBytes) * codeRowBytes;
}

/** At once, on this thread: about a millisecond for each quarter of a million floats of `vectors` [count, dims]. */
export function quantizeVectors(vectors: Float32Array, dims: number): QuantizedVectors {
  const count = vectors.length / dims;
  const codes = new Uint8Array(count * codeStride(dims));
  const scales = new Float32Array(count);
  loadAddon().quantizeVectors(unshared(vectors), dims, codes, scales);
  return { codes, scales };
}
