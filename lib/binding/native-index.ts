/** Exact nearest neighbours by dot product, in native memory. */
import { setImmediate } from 'node:timers/promises';
import { describeValue, ElasticError } from '../errors.js';
import { loadAddon, type AddonIndex, type VectorPrecision } from './addon.js';
import { captureCallSite, runCall } from './call.js';
import { resolveIsa, resolveThreads } from './environment.js';
import { Lifecycle } from './lifecycle.js';
import { unshared } from './memory.js';

export interface NativeIndexOptions {
  /** threads to search with; default as for a model */
  threads?: number;
}

export interface NativeIndexSource {
  /** [count, dims] */
  vectors: Float32Array;
  dims: number;
  /** what to store the vectors in; default 'f32' */
  precision?: VectorPrecision;
}

/** Best first; equal scores in rising document order. k = min(topK, count). */
export interface SearchResult {
  /** [Q, k] positions in the index */
  documents: Int32Array;
  /** [Q, k] dot products */
  scores: Float32Array;
}

/** Copied per turn of the event loop: 4 MiB take about a millisecond. */
const floatsPerTurn = 1 << 20;

export class NativeIndex {
  readonly #native: AddonIndex;
  readonly #lifecycle = new Lifecycle('ELASTICLM_INDEX_CLOSED', 'index');

  private constructor(options: NativeIndexOptions) {
    const spec = { threads: resolveThreads(options.threads), isa: resolveIsa() };
    this.#native = new (loadAddon().Index)(spec);
  }

  /** Maps an index file. @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_INDEX_INVALID */
  static async open(path: string, options: NativeIndexOptions = {}): Promise<NativeIndex> {
    const site = captureCallSite();
    const index = new NativeIndex(options);
    await index.#closeOnError(runCall(() => index.#native.open(path), site));
    return index;
  }

  /** Copies the vectors, a part at a time: they stay as they are until the promise settles. */
  static async fromVectors(
    { vectors, dims, precision = 'f32' }: NativeIndexSource,
    options: NativeIndexOptions = {},
  ): Promise<NativeIndex> {
    const site = captureCallSite();
    if (!Number.isInteger(dims) || dims < 1 || vectors.length % dims !== 0) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: 'a whole number of dimensions that divides the number of floats',
        subject: 'dims',
        received: `${describeValue(dims)} with ${vectors.length} floats`,
      });
    }
    const index = new NativeIndex(options);
    const step = Math.max(1, Math.floor(floatsPerTurn / dims)) * dims;
    for (let begin = 0; begin < vectors.length; begin += step) {
      if (begin > 0) await setImmediate();
      index.#native.append(unshared(vectors.subarray(begin, begin + step)));
    }
    await index.#closeOnError(runCall(() => index.#native.build(dims, precision), site));
    return index;
  }

  /** An index that could not be filled keeps no threads. */
  async #closeOnError(filling: Promise<void>): Promise<void> {
    try {
      await filling;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.#lifecycle.closed;
  }

  get dims(): number {
    this.#lifecycle.check('NativeIndex.dims');
    return this.#native.dims();
  }

  get count(): number {
    this.#lifecycle.check('NativeIndex.count');
    return this.#native.count();
  }

  get precision(): VectorPrecision {
    this.#lifecycle.check('NativeIndex.precision');
    return this.#native.precision();
  }

  /** Memory of the vectors. */
  get bytes(): number {
    this.#lifecycle.check('NativeIndex.bytes');
    return this.#native.bytes();
  }

  /** The `topK` best documents of each of [Q, dims] queries. `queries` is copied before this returns. */
  async search(queries: Float32Array, topK: number, signal?: AbortSignal): Promise<SearchResult> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeIndex.search()');
    if (!Number.isInteger(topK) || topK < 1) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: 'a whole number of at least 1',
        subject: 'topK',
        received: describeValue(topK),
      });
    }
    const dims = this.#native.dims();
    if (queries.length % dims !== 0) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: `vectors of ${dims} floats, as in the index`,
        subject: 'queries',
        received: `${queries.length} floats`,
      });
    }
    const found = (queries.length / dims) * Math.min(topK, this.#native.count());
    const documents = new Int32Array(found);
    const scores = new Float32Array(found);
    await runCall(() => this.#native.search(unshared(queries), topK, documents, scores), site, signal);
    return { documents, scores };
  }

  /** Waits for the searches in flight, then unmaps the file and ends the threads. */
  close(): Promise<void> {
    return this.#lifecycle.close(() => this.#native.close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
