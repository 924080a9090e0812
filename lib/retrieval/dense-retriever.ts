/** A denser and an index: documents in once, at one level; queries at any level. */
import { setImmediate } from 'node:timers/promises';
import { ElasticError } from '../errors.js';
import type { ElasticDenser, RunOptions } from '../heads/index.js';
import { IndexWriter } from './index-file.js';
import { VectorIndex, type Hit } from './vector-index.js';

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
    const { path } = options;
    const sink = path === undefined ? new MemorySink(denser.dims) : await FileSink.create(path, denser.dims);
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
  readonly #dims: number;
  readonly #ids: string[] = [];
  readonly #parts: Float32Array[] = [];

  constructor(dims: number) {
    this.#dims = dims;
  }

  append(ids: readonly string[], vectors: Float32Array): Promise<void> {
    this.#ids.push(...ids);
    this.#parts.push(vectors);
    return Promise.resolve();
  }

  async finish(): Promise<VectorIndex> {
    const vectors = new Float32Array(this.#ids.length * this.#dims);
    let begin = 0;
    for (const part of this.#parts) {
      if (begin > 0) await setImmediate(); // one part a turn, under a millisecond each
      vectors.set(part, begin);
      begin += part.length;
    }
    return VectorIndex.from({ ids: this.#ids, vectors, dims: this.#dims });
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

  static async create(path: string, dims: number): Promise<FileSink> {
    return new FileSink(path, await IndexWriter.create(path, dims));
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
