/** Retrieval on a BEIR collection: every document against every judged query, level by level. */
import { documentText, readBeirCorpus, readBeirQrels, readBeirQueries } from './beir.js';
import { judgedQueries } from './qrels.js';
import {
  mean,
  ndcgAt,
  rankRun,
  recallAt,
  reciprocalRankAt,
  type Judgments,
  type ScoredDocument,
} from './ranking-metrics.js';
import { planPasses, searchCollection } from './search-collection.js';
import { mapInSlices } from '../slices.js';
import type { CollectionTaskOptions } from './task-options.js';
import type { TopHits } from './top-hits.js';

/** `data` is a folder in BEIR layout, `split` the name of a file in its qrels/, by default test. */
export interface RetrievalOptions extends CollectionTaskOptions {
  /**
   * Leave out a document that has the query's own id, as BEIR does for its sets of duplicate questions; default false,
   * since ids of most collections coincide by chance.
   */
  ignoreIdenticalIds?: boolean | undefined;
}

export interface RetrievalResult {
  task: 'retrieval';
  level: number;
  indexLevel: number;
  /** judged queries, which the means are over */
  queries: number;
  'ndcg@10': number;
  'mrr@10': number;
  'recall@100': number;
  /** of encoding the documents at `indexLevel` */
  documentsPerSecond: number;
  tokensPerSecond: number;
}

/** Documents retrieved for each query: what recall@100 needs. */
const retrieved = 100;

/**
 * One result per level, in the order of `levels`. Metrics follow trec_eval.
 * @throws ELASTICLM_DATA_INVALID, ELASTICLM_FILE_NOT_FOUND, ELASTICLM_LEVEL_UNKNOWN, and what encoding and search throw
 */
export async function* evaluateRetrieval(options: RetrievalOptions): AsyncGenerator<RetrievalResult> {
  const { data, split = 'test', ignoreIdenticalIds = false } = options;
  const passes = planPasses(options);
  const qrels = await readBeirQrels(data, split);
  const queries = await judgedQueries(readBeirQueries(data), qrels, data);
  /** by the documents' positions in the collection */
  const ids: string[] = [];
  const levels = searchCollection(options, {
    passes,
    documents: () => readBeirCorpus(data),
    textOf: documentText,
    queries: queries.map(({ text }) => text),
    topK: ignoreIdenticalIds ? retrieved + 1 : retrieved,
    keep: (part, begin) => {
      for (const [idx, { id }] of part.entries()) ids[begin + idx] = id;
      return (_, position) => begin + position;
    },
  });
  for await (const { level, indexLevel, hits, documentsPerSecond, tokensPerSecond } of levels) {
    const perQuery = await mapInSlices(queries, ({ id }, query) => {
      const run = runOf(hits, query, ids).filter((hit) => !ignoreIdenticalIds || hit.id !== id);
      return metricsOf(rankRun(run), qrels.get(id)!);
    });
    yield {
      task: 'retrieval',
      level,
      indexLevel,
      queries: queries.length,
      'ndcg@10': mean(perQuery.map(({ ndcg }) => ndcg)),
      'mrr@10': mean(perQuery.map(({ reciprocalRank }) => reciprocalRank)),
      'recall@100': mean(perQuery.map(({ recall }) => recall)),
      documentsPerSecond,
      tokensPerSecond,
    };
  }
}

function runOf(hits: TopHits, query: number, ids: readonly string[]): ScoredDocument[] {
  const scores = hits.scores(query);
  return Array.from(hits.values(query), (position, rank) => ({ id: ids[position]!, score: scores[rank]! }));
}

function metricsOf(
  ranked: readonly string[],
  judgments: Judgments,
): { ndcg: number; reciprocalRank: number; recall: number } {
  return {
    ndcg: ndcgAt(ranked, judgments, 10),
    reciprocalRank: reciprocalRankAt(ranked, judgments, 10),
    recall: recallAt(ranked, judgments, retrieved),
  };
}
