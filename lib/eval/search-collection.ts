/** Every document of a collection against every query, at every level, in memory that does not grow with the collection. */
import { ElasticError } from '../errors.js';
import { DenseRetriever } from '../retrieval/index.js';
import { Slices } from '../slices.js';
import { checkSome, countItems, inParts } from './streams.js';
import { resolveLevels, type CollectionTaskOptions } from './task-options.js';
import { TopHits } from './top-hits.js';

/** A collection, and what is asked of it. */
export interface CollectionSearch<Document> {
  /** as planned before anything is read */
  passes: readonly Pass[];
  /** the documents from the first, as often as asked */
  documents: () => AsyncIterable<Document>;
  textOf: (document: Document) => string;
  queries: readonly string[];
  /** documents to find for each query */
  topK: number;
  /**
   * What to keep of a document that a query has found, a whole number from 0 below 2^32.
   * @param part the documents that are searched now, of which the first has the position `begin` in the collection
   */
  keep: (part: readonly Document[], begin: number) => (query: number, position: number) => number;
}

/** What the queries of one level found. */
export interface LevelHits {
  level: number;
  indexLevel: number;
  hits: TopHits;
  /** of encoding the documents at `indexLevel` */
  documentsPerSecond: number;
  tokensPerSecond: number;
}

/** Vectors of one part take this much, and once more while the index is built from them. */
const partBytes = 1 << 26;
/** Documents that DenseRetriever encodes at once: parts are multiples of it. */
const partStep = 512;
/** Hits of one search, each an object of the heap made in one turn of the event loop: about a millisecond. */
const hitsPerSearch = 1 << 13;

/** One pass over the collection. */
export interface Pass {
  /** of the documents' vectors */
  indexLevel: number;
  /** of the queries that are searched in it */
  levels: readonly number[];
}

/**
 * One pass where levels share the documents' vectors, else one for each level.
 * @throws ELASTICLM_LEVEL_UNKNOWN; ELASTICLM_ARGUMENT_INVALID for vectors of two lengths
 */
export function planPasses({ denser, indexDenser, levels, indexLevel }: CollectionTaskOptions): Pass[] {
  const known = resolveLevels(levels, denser);
  if (indexLevel === undefined && indexDenser === undefined) {
    return known.map((level) => ({ indexLevel: level, levels: [level] }));
  }
  const shared = indexLevel ?? 1;
  const indexing = indexDenser ?? denser;
  resolveLevels([shared], indexing);
  if (indexing.dims !== denser.dims) {
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: `vectors of ${denser.dims} floats, as the queries' are,`,
      subject: 'the model of the index',
      received: `${indexing.dims}`,
      remedy: 'Choose the model that the queries were trained to search with',
    });
  }
  return [{ indexLevel: shared, levels: known }];
}

/**
 * One result per level, in their order.
 * @throws what the documents' reader throws before anything is encoded, and what encoding and search throw
 */
export async function* searchCollection<Document>(
  options: CollectionTaskOptions,
  search: CollectionSearch<Document>,
): AsyncGenerator<LevelHits> {
  const { passes } = search;
  const total = await countItems(search.documents(), options.signal);
  checkSome(total, 'document', options.data);
  for (const [idx, pass] of passes.entries()) {
    yield* runPass(options, search, {
      ...pass,
      onDocuments: (done) => options.onProgress?.(idx * total + done, passes.length * total),
    });
  }
}

interface RunningPass extends Pass {
  onDocuments: (done: number) => void;
}

async function* runPass<Document>(
  options: CollectionTaskOptions,
  search: CollectionSearch<Document>,
  { indexLevel, levels, onDocuments }: RunningPass,
): AsyncGenerator<LevelHits> {
  const { denser, indexDenser = denser, maxLength, signal } = options;
  const { documentsPerPart = defaultPart(denser.dims) } = options;
  const searches: LevelSearch[] = [];
  for (const level of levels) {
    const encoded = await denser.encode(search.queries, { kind: 'query', level, maxLength, signal });
    searches.push({ level, vectors: encoded.data, hits: new TopHits(search.topK) });
  }
  const done = { documents: 0, tokens: 0, seconds: 0 };
  for await (const part of inParts(search.documents(), documentsPerPart)) {
    const start = performance.now();
    let tokens = 0;
    const documents = part.map((document) => ({ id: '', text: search.textOf(document) }));
    await using retriever = await DenseRetriever.build(indexDenser, documents, {
      level: indexLevel,
      maxLength,
      signal,
      onProgress: (encoded) => {
        ({ tokens } = encoded);
        onDocuments(done.documents + encoded.documents);
      },
    });
    done.seconds += (performance.now() - start) / 1000;
    const keep = search.keep(part, done.documents);
    for (const one of searches) await searchPart(retriever, one, { keep, topK: search.topK, signal });
    done.documents += part.length;
    done.tokens += tokens;
  }
  for (const { level, hits } of searches) {
    yield {
      level,
      indexLevel,
      hits,
      documentsPerSecond: done.documents / done.seconds,
      tokensPerSecond: done.tokens / done.seconds,
    };
  }
}

/** The queries of one level. */
interface LevelSearch {
  level: number;
  /** [Q, dims] */
  vectors: Float32Array;
  hits: TopHits;
}

interface PartSearch {
  keep: (query: number, position: number) => number;
  topK: number;
  signal: AbortSignal | undefined;
}

async function searchPart(
  { index }: DenseRetriever,
  { vectors, hits }: LevelSearch,
  { keep, topK, signal }: PartSearch,
): Promise<void> {
  const { dims } = index;
  const step = Math.max(1, Math.floor(hitsPerSearch / topK));
  for (let begin = 0; begin * dims < vectors.length; begin += step) {
    const block = vectors.subarray(begin * dims, (begin + step) * dims);
    const found = await index.search(block, { topK, ...(signal === undefined ? {} : { signal }) });
    const slices = new Slices(signal);
    for (const [row, list] of found.entries()) {
      const query = begin + row;
      for (const { index: position, score } of list) {
        if (!hits.accepts(query, score)) break; // the others score less
        hits.add(query, score, keep(query, position));
      }
      if (slices.isOver) await slices.next();
    }
  }
}

/** Documents that fill a part. */
function defaultPart(dims: number): number {
  const bytes = dims * Float32Array.BYTES_PER_ELEMENT;
  return Math.max(1, Math.floor(partBytes / bytes / partStep)) * partStep;
}
