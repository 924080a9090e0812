/** Exact nearest neighbours by dot product: vectors with ids, in memory or mapped from a file. */
import { copyFile, rename, rm } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { NativeIndex, type NativeIndexOptions, type VectorPrecision } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import { IndexWriter, readIndexIds } from './index-file.js';

/** Vectors to be indexed. */
export interface VectorSource {
  /** [count] one id for each vector */
  ids: readonly string[];
  /** [count, dims] f32; not to be changed while the index is open */
  vectors: Float32Array;
  dims: number;
}

export interface IndexOptions extends NativeIndexOptions {
  /**
   * What to store the vectors in; default 'f32'. 'i8' takes a quarter of the memory and of the time of a search: each vector
   * is quantised with a scale of its own, and so is the query; scores are off by about 0.001 between unit vectors.
   */
  precision?: VectorPrecision;
}

export interface SearchOptions {
  /** how many to find; default 10 */
  topK?: number;
  signal?: AbortSignal;
}

export interface Hit {
  id: string;
  /** position of the document in the index */
  index: number;
  /** dot product of the query and the document */
  score: number;
}

/** Where the vectors of an index lie. */
type Origin = { vectors: Float32Array } | { path: string };

const vectorPrecisions: readonly unknown[] = ['f32', 'i8'] satisfies VectorPrecision[];

const defaultTopK = 10;

export class VectorIndex {
  /** floats of one vector */
  readonly dims: number;
  /** what the vectors are stored in */
  readonly precision: VectorPrecision;
  /** memory of the vectors, or their part of the mapped file */
  readonly bytes: number;
  readonly #native: NativeIndex;
  readonly #ids: readonly string[];
  readonly #origin: Origin;

  private constructor(native: NativeIndex, ids: readonly string[], origin: Origin) {
    this.#native = native;
    this.dims = native.dims;
    this.precision = native.precision;
    this.bytes = native.bytes;
    this.#ids = ids;
    this.#origin = origin;
  }

  /** @throws ELASTICLM_ARGUMENT_INVALID */
  static async from(source: VectorSource, options: IndexOptions = {}): Promise<VectorIndex> {
    const { ids, vectors, dims } = source;
    const { precision = 'f32', ...nativeOptions } = options;
    checkIds(ids);
    checkVectorPrecision(precision);
    if (
      !(vectors instanceof Float32Array) ||
      !Number.isInteger(dims) ||
      dims < 1 ||
      vectors.length !== ids.length * dims
    ) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: `a Float32Array of ${ids.length} vectors of dims floats`,
        subject: 'vectors',
        received: `${describeValue(vectors)} with dims ${describeValue(dims)}`,
      });
    }
    const native = await NativeIndex.fromVectors({ vectors, dims, precision }, nativeOptions);
    return new VectorIndex(native, [...ids], { vectors });
  }

  /**
   * Maps an index file: its vectors take no memory of the process and are read on demand. Replace such a file by save()
   * only; a program that shortens it in place ends every process that has it open.
   * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_INDEX_INVALID
   */
  static async open(path: string, options: NativeIndexOptions = {}): Promise<VectorIndex> {
    const native = await NativeIndex.open(path, options);
    try {
      return new VectorIndex(native, await readIndexIds(path), { path });
    } catch (error) {
      await native.close();
      throw error;
    }
  }

  /** Number of vectors. */
  get count(): number {
    return this.#ids.length;
  }

  get closed(): boolean {
    return this.#native.closed;
  }

  /** Writes the index file: under another name first, then renamed, so that no reader sees half of it. */
  async save(path: string): Promise<void> {
    if ('path' in this.#origin) {
      await copyIntoPlace(this.#origin.path, path);
      return;
    }
    const writer = await IndexWriter.create(path, this);
    try {
      await writer.append(this.#ids, this.#origin.vectors);
      await writer.finish();
    } finally {
      await writer.abandon();
    }
  }

  /**
   * The best documents for each of [Q, dims] queries: score falling, equal scores in the index's order.
   * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED, ELASTICLM_INDEX_CLOSED
   */
  async search(queries: Float32Array, options: SearchOptions = {}): Promise<Hit[][]> {
    const { topK = defaultTopK, signal } = options;
    if (!(queries instanceof Float32Array)) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: 'a Float32Array of [Q, dims]',
        subject: 'queries',
        received: describeValue(queries),
      });
    }
    const { documents, scores } = await this.#native.search(queries, topK, signal);
    const found = Math.min(topK, this.count);
    return Array.from({ length: queries.length / this.dims }, (_, query) =>
      Array.from({ length: found }, (_, rank) => {
        const index = documents[query * found + rank]!;
        return { id: this.#ids[index]!, index, score: scores[query * found + rank]! };
      }),
    );
  }

  /** Waits for the searches in flight, then frees the vectors. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#native.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** @throws ELASTICLM_ARGUMENT_INVALID naming the first id that is not a string */
export function checkIds(ids: readonly unknown[]): void {
  const wrong = ids.findIndex((id) => typeof id !== 'string');
  if (wrong < 0) return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: 'a string',
    subject: `id ${wrong}`,
    received: describeValue(ids[wrong]),
  });
}

/** @throws ELASTICLM_ARGUMENT_INVALID */
export function checkVectorPrecision(precision: unknown): asserts precision is VectorPrecision {
  if (vectorPrecisions.includes(precision)) return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: "'f32' or 'i8'",
    subject: 'options.precision',
    received: describeValue(precision),
  });
}

async function copyIntoPlace(source: string, target: string): Promise<void> {
  const temporary = `${target}.${randomUUID()}.tmp`;
  try {
    await copyFile(source, temporary);
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw ElasticError.of(
      'ELASTICLM_FILE_UNWRITABLE',
      { expected: 'a place to copy the index to', subject: target, received: (cause as Error).message },
      { cause },
    );
  }
}
