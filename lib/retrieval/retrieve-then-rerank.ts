/** Two stages: many candidates from the index, then their order from a cross-encoder. */
import { ElasticError } from '../errors.js';
import type { ElasticRanker } from '../heads/index.js';
import type { DenseRetriever } from './dense-retriever.js';
import type { Hit } from './vector-index.js';

export interface RerankOptions {
  retriever: DenseRetriever;
  ranker: ElasticRanker;
  /** the text of a document of the index */
  textOf: (hit: Hit) => string | Promise<string>;
  /** how many documents the index gives to the ranker; default 100 */
  candidates?: number;
  /** how many to return; default 10 */
  topK?: number;
  /** level of the query's vector; default 1 */
  retrieveLevel?: number;
  /** level of the cross-encoder; default 1 */
  rankLevel?: number;
  /** longest query and document together, in tokens, for the ranker; default the checkpoint's */
  maxLength?: number;
  signal?: AbortSignal;
}

export interface RerankedHit extends Hit {
  /** the cross-encoder's score; `retrievalScore` is that of the index */
  score: number;
  retrievalScore: number;
}

/** The best documents for a query by falling score of the ranker. @throws what its two stages throw */
export async function retrieveThenRerank(query: string, options: RerankOptions): Promise<RerankedHit[]> {
  const { retriever, ranker, textOf, candidates = 100, topK = 10, signal } = options;
  if (typeof query !== 'string') {
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'a string',
      subject: 'query',
      received: typeof query,
    });
  }
  const [hits = []] = await retriever.retrieve(query, {
    topK: candidates,
    level: options.retrieveLevel,
    signal,
  });
  const documents = await Promise.all(hits.map(async (hit) => textOf(hit)));
  const ranking = await ranker.rank(query, documents, {
    level: options.rankLevel,
    topK,
    maxLength: options.maxLength,
    signal,
  });
  return ranking.map(({ index, score }) => {
    const hit = hits[index]!;
    return { ...hit, score, retrievalScore: hit.score };
  });
}
