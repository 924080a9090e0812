/** Retrieval on a BEIR collection: every document against every judged query, level by level. */
import { performance } from 'node:perf_hooks';
import { ElasticError } from '../errors.js';
import type { ElasticDenser } from '../heads/index.js';
import { DenseRetriever, type RetrieverDocument } from '../retrieval/index.js';
import { documentText, readBeirCorpus, readBeirQrels, readBeirQueries, type BeirQuery } from './beir.js';
import { resolveLevels, type LevelChoice } from './levels.js';
import { mean, ndcgAt, rankRun, recallAt, reciprocalRankAt, type Qrels } from './ranking-metrics.js';

export interface RetrievalOptions {
  denser: ElasticDenser;
  /** folder in BEIR layout */
  data: string;
  /** name of the file in qrels/; default test */
  split?: string | undefined;
  /** levels of the queries; default all */
  levels?: LevelChoice | undefined;
  /** level of the documents' vectors; default each query level's own */
  indexLevel?: number | undefined;
  /** longest text in tokens; default the checkpoint's */
  maxLength?: number | undefined;
  /**
   * Leave out a document that has the query's own id, as BEIR does for its sets of duplicate questions; default false,
   * since ids of most collections coincide by chance.
   */
  ignoreIdenticalIds?: boolean | undefined;
  /** documents encoded so far over all levels, of how many */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
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
 * One result per level, in the order of `levels`, each as soon as it is known. Metrics follow trec_eval.
 * @throws ELASTICLM_DATA_INVALID, ELASTICLM_FILE_NOT_FOUND, ELASTICLM_LEVEL_UNKNOWN, and what encoding and search throw
 */
export async function* evaluateRetrieval(options: RetrievalOptions): AsyncGenerator<RetrievalResult> {
  const levels = resolveLevels(options.levels ?? 'all', options.denser.model.levels);
  const qrels = await readBeirQrels(options.data, options.split ?? 'test');
  const queries = await judgedQueries(options.data, qrels);
  const total = await countDocuments(options.data);
  const numIndexes = options.indexLevel === undefined ? levels.length : 1;
  let builds = 0;
  let current: BuiltIndex | undefined;
  try {
    for (const level of levels) {
      const indexLevel = options.indexLevel ?? level;
      if (current?.level !== indexLevel) {
        await current?.retriever.close();
        current = undefined;
        const before = builds * total;
        current = await buildIndex(options, indexLevel, (done) =>
          options.onProgress?.(before + done, numIndexes * total),
        );
        builds += 1;
      }
      const metrics = await score(options, { retriever: current.retriever, level, queries, qrels });
      const { documentsPerSecond, tokensPerSecond } = current;
      yield {
        task: 'retrieval',
        level,
        indexLevel,
        queries: queries.length,
        ...metrics,
        documentsPerSecond,
        tokensPerSecond,
      };
    }
  } finally {
    await current?.retriever.close();
  }
}

interface BuiltIndex {
  level: number;
  retriever: DenseRetriever;
  documentsPerSecond: number;
  tokensPerSecond: number;
}

async function buildIndex(
  { denser, data, maxLength, signal }: RetrievalOptions,
  level: number,
  onProgress: (done: number) => void,
): Promise<BuiltIndex> {
  let tokens = 0;
  const start = performance.now();
  const retriever = await DenseRetriever.build(denser, documentsOf(data), {
    level,
    maxLength,
    signal,
    onProgress: (done) => {
      tokens = done.tokens;
      onProgress(done.documents);
    },
  });
  const seconds = (performance.now() - start) / 1000;
  const { count } = retriever.index;
  return { level, retriever, documentsPerSecond: count / seconds, tokensPerSecond: tokens / seconds };
}

async function* documentsOf(data: string): AsyncGenerator<RetrieverDocument> {
  for await (const document of readBeirCorpus(data)) yield { id: document.id, text: documentText(document) };
}

interface ScoreInput {
  retriever: DenseRetriever;
  level: number;
  queries: readonly BeirQuery[];
  qrels: Qrels;
}

async function score(
  { maxLength, ignoreIdenticalIds = false, signal }: RetrievalOptions,
  { retriever, level, queries, qrels }: ScoreInput,
): Promise<Pick<RetrievalResult, 'ndcg@10' | 'mrr@10' | 'recall@100'>> {
  const texts = queries.map(({ text }) => text);
  const topK = ignoreIdenticalIds ? retrieved + 1 : retrieved;
  const hits = await retriever.retrieve(texts, { level, topK, maxLength, signal });
  const perQuery = queries.map(({ id }, idx) => {
    const run = hits[idx]!.filter((hit) => !ignoreIdenticalIds || hit.id !== id);
    const ranked = rankRun(run);
    const judgments = qrels.get(id)!;
    return {
      ndcg: ndcgAt(ranked, judgments, 10),
      reciprocalRank: reciprocalRankAt(ranked, judgments, 10),
      recall: recallAt(ranked, judgments, retrieved),
    };
  });
  return {
    'ndcg@10': mean(perQuery.map(({ ndcg }) => ndcg)),
    'mrr@10': mean(perQuery.map(({ reciprocalRank }) => reciprocalRank)),
    'recall@100': mean(perQuery.map(({ recall }) => recall)),
  };
}

/** The queries that the split judges. Each must be in queries.jsonl. */
async function judgedQueries(data: string, qrels: Qrels): Promise<BeirQuery[]> {
  const queries: BeirQuery[] = [];
  const unseen = new Set(qrels.keys());
  for await (const query of readBeirQueries(data)) {
    if (unseen.delete(query.id)) queries.push(query);
  }
  const [missing] = unseen;
  if (missing === undefined && queries.length > 0) return queries;
  throw ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected: 'every judged query in queries.jsonl, and at least one',
    subject: data,
    received:
      missing === undefined
        ? 'no judgments'
        : `judgments of query ${JSON.stringify(missing)}, which is not there`,
  });
}

/** A pass over the corpus before the long ones: for progress, and so that a wrong line fails now and not after an hour. */
async function countDocuments(data: string): Promise<number> {
  const documents = readBeirCorpus(data);
  let count = 0;
  while ((await documents.next()).done !== true) count += 1;
  return count;
}
