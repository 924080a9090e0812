/** A denser and an index: documents in once, at one level; queries at any level. */
import { setImmediate } from 'node:timers/promises';
import type { VectorPrecision } from '../binding/index.js';
import { ElasticError } from '../errors.js';
import type { ElasticDenser, RunOptions } from '../heads/index.js';
import { IndexWriter, type IndexShape } from './index-file.js';
import { checkVectorPrecision, VectorIndex, type Hit } from './vector-index.js';

export interface RetrieverDocument {
  id: string;
  text: string;
}

export interface BuildOptions {
  /** level of the documents' vectors; default 1. One index serves queries of every level. */
  level?: number | undefined;
  /** longest document in tokens; default the checkpoint's */
  maxLength?: number | undefined;
  /** file to write the index to and map it from; default: the vectors stay in memory */
  path?: string | undefined;
  /** what the index stores its vectors in; default 'f32', see IndexOptions */
  precision?: VectorPrecision | undefined;
  /** after each part: documents encoded so far, and their tokens */
  onProgress?: ((done: { documents: number; tokens: number }) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface RetrieveOptions extends RunOptions {
  /** how many documents to find for each query; default 10 */
  topK?: number | undefined;
}

/** Documents encoded by one call: several chunks of compute, so that tokenising overlaps it. */
const documentsPerPart = 512;

export class DenseRetriever {
  readonly denser: ElasticDenser;
  readonly index: VectorIndex;

  /** Both stay the caller's to close; close() of the retriever closes the index alone. */
  constructor(denser: ElasticDenser, index: VectorIndex) {
    if (denser.dims !== index.dims && index.count > 0) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: `an index of ${denser.dims} dims, as the denser gives`,
        subject: 'index',
        received: `one of ${index.dims} dims`,
      });
    }
    this.denser = denser;
    this.index = index;
  }

  /**
   * Encodes documents as they come and indexes them.
   * @throws what ElasticDenser.encode and VectorIndex throw, and what `documents` throws
   */
  static async build(
    denser: ElasticDenser,
    documents: Iterable<RetrieverDocument> | AsyncIterable<RetrieverDocument>,
    options: BuildOptions = {},
  ): Promise<DenseRetriever> {
    const { path, precision = 'f32' } = options;
    checkVectorPrecision(precision);
    const shape = { dims: denser.dims, precision };
    const sink = path === undefined ? new MemorySink(shape) : await FileSink.create(path, shape);
    try {
      const done = { documents: 0, tokens: 0 };
      for await (const part of partsOf(documents)) {
        const { level, maxLength, signal } = options;
        const texts = part.map(({ text }) => text);
        const { data, totalTokens } = await denser.encode(texts, {
          kind: 'document',
          level,
          maxLength,
          signal,
        });
        await sink.append(
          part.map(({ id }) => id),
          data,
        );
        done.documents += part.length;
        done.tokens += totalTokens;
        options.onProgress?.({ ...done });
      }
      return new DenseRetriever(denser, await sink.finish());
    } finally {
      await sink.abandon();
    }
  }

  /** The best documents of each query, in the queries' order. @throws what ElasticDenser.encode and VectorIndex throw */
  async retrieve(queries: string | readonly string[], options: RetrieveOptions = {}): Promise<Hit[][]> {
    const { topK, ...encodeOptions } = options;
    const { data } = await this.denser.encode(queries, { kind: 'query', ...encodeOptions });
    const { signal } = options;
    return this.index.search(data, {
      ...(topK === undefined ? {} : { topK }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  close(): Promise<void> {
    return this.index.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Where encoded documents go. */
interface Sink {
  append(ids: readonly string[], vectors: Float32Array): Promise<void>;
  finish(): Promise<VectorIndex>;
  /** Leaves nothing behind unless finish() has ended. */
  abandon(): Promise<void>;
}

class MemorySink implements Sink {
  readonly #shape: IndexShape;
  readonly #ids: string[] = [];
  readonly #parts: Float32Array[] = [];

  constructor(shape: IndexShape) {
    this.#shape = shape;
  }

  append(ids: readonly string[], vectors: Float32Array): Promise<void> {
    this.#ids.push(...ids);
    this.#parts.push(vectors);
    return Promise.resolve();
  }

  async finish(): Promise<VectorIndex> {
    const { dims, precision } = this.#shape;
    const vectors = new Float32Array(this.#ids.length * dims);
    let begin = 0;
    for (const part of this.#parts) {
      if (begin > 0) await setImmediate(); // one part a turn, under a millisecond each
      vectors.set(part, begin);
      begin += part.length;
    }
    return VectorIndex.from({ ids: this.#ids, vectors, dims }, { precision });
  }

  abandon(): Promise<void> {
    this.#parts.length = 0;
    return Promise.resolve();
  }
}

class FileSink implements Sink {
  readonly #path: string;
  readonly #writer: IndexWriter;

  private constructor(path: string, writer: IndexWriter) {
    this.#path = path;
    this.#writer = writer;
  }

  static async create(path: string, shape: IndexShape): Promise<FileSink> {
    return new FileSink(path, await IndexWriter.create(path, shape));
  }

  append(ids: readonly string[], vectors: Float32Array): Promise<void> {
    return this.#writer.append(ids, vectors);
  }

  async finish(): Promise<VectorIndex> {
    await this.#writer.finish();
    return VectorIndex.open(this.#path);
  }

  abandon(): Promise<void> {
    return this.#writer.abandon();
  }
}

async function* partsOf(
  documents: Iterable<RetrieverDocument> | AsyncIterable<RetrieverDocument>,
): AsyncGenerator<RetrieverDocument[]> {
  let part: RetrieverDocument[] = [];
  for await (const document of documents) {
    part.push(document);
    if (part.length < documentsPerPart) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}
