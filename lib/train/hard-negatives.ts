/** Documents that a bi-encoder takes for answers although they are none. */
import { throwIfAborted } from '../errors.js';
import type { ElasticDenser } from '../heads/index.js';
import { VectorIndex } from '../retrieval/index.js';
import { checkCount } from './data-options.js';

export interface JudgedCollection {
  queries: readonly string[];
  documents: readonly string[];
  /** [queries] positions of the documents that answer each */
  answers: readonly (readonly number[])[];
}

export interface HardNegativeOptions {
  /** negatives of a query at most; default 8 */
  count?: number | undefined;
  /** leave out the first so many of the ranking: among them are answers that nobody marked; default 2 */
  skipFirst?: number | undefined;
  /** longest text in tokens; default what the checkpoint says */
  maxLength?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Queries searched at a time: their hits are objects, and the event loop has its turn in between. */
const queriesPerSearch = 64;

/**
 * For each query the documents ranked highest at level 1, answers left out.
 * @returns [queries] positions of documents, best first
 * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED and what encoding and searching throw
 */
export async function mineHardNegatives(
  denser: ElasticDenser,
  { queries, documents, answers }: JudgedCollection,
  options: HardNegativeOptions = {},
): Promise<number[][]> {
  const { count = 8, skipFirst = 2, maxLength, signal } = options;
  checkCount('count', count, 1);
  checkCount('skipFirst', skipFirst, 0);
  if (documents.length === 0) return queries.map(() => []);
  const { data: vectors, dims } = await denser.encode(documents, { kind: 'document', maxLength, signal });
  const ids = documents.map((_, position) => String(position));
  await using index = await VectorIndex.from({ ids, vectors, dims });
  const encoded = await denser.encode(queries, { kind: 'query', maxLength, signal });
  const negatives: number[][] = [];
  for (let begin = 0; begin < queries.length; begin += queriesPerSearch) {
    throwIfAborted(signal);
    const end = Math.min(begin + queriesPerSearch, queries.length);
    const part = answers.slice(begin, end);
    const topK = skipFirst + count + Math.max(...part.map(({ length }) => length));
    const hits = await index.search(encoded.data.slice(begin * dims, end * dims), {
      topK,
      ...(signal === undefined ? {} : { signal }),
    });
    for (const [idx, ranked] of hits.entries()) {
      const wrong = ranked.map((hit) => hit.index).filter((document) => !part[idx]!.includes(document));
      negatives.push(wrong.slice(skipFirst, skipFirst + count));
    }
  }
  return negatives;
}
