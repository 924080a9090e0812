/** MS MARCO passage ranking: from the whole collection by a bi-encoder, or the best 1000 of each query by a cross-encoder. */
import { ElasticError } from '../errors.js';
import type { ElasticRanker } from '../heads/index.js';
import {
  msMarcoSplit,
  readMsMarcoCandidates,
  readMsMarcoCollection,
  readMsMarcoQrels,
  readMsMarcoQueries,
  type MsMarcoCandidate,
} from './msmarco.js';
import { judgedQueries } from './qrels.js';
import { mean, recallAt, reciprocalRankAt, type Qrels } from './ranking-metrics.js';
import { planPasses, searchCollection } from './search-collection.js';
import { mapInSlices, Slices } from '../slices.js';
import { checkSome, countItems, inParts } from './streams.js';
import { resolveLevels, type CollectionTaskOptions, type TaskOptions } from './task-options.js';
import { TopHits } from './top-hits.js';

/** `data` is a folder with collection.tsv, queries.SPLIT.tsv and qrels.SPLIT.tsv; `split` by default dev.small. */
export type MsMarcoOptions = CollectionTaskOptions;

/** `data` is a folder with top1000.SPLIT.tsv and qrels.SPLIT.tsv. */
export interface MsMarcoRerankOptions extends TaskOptions {
  ranker: ElasticRanker;
}

interface MsMarcoMetrics {
  /** the official metric */
  'mrr@10': number;
  'recall@100': number;
  'recall@1000': number;
}

export interface MsMarcoResult extends MsMarcoMetrics {
  task: 'msmarco';
  level: number;
  indexLevel: number;
  /** queries of the qrels, which the means are over */
  queries: number;
  /** of encoding the passages at `indexLevel` */
  documentsPerSecond: number;
  tokensPerSecond: number;
}

export interface MsMarcoRerankResult extends MsMarcoMetrics {
  task: 'msmarco-rerank';
  level: number;
  /** queries of the qrels, which the means are over: one without a candidate counts as 0 */
  queries: number;
}

/** Passages kept for each query: what recall@1000 needs. */
const kept = 1000;

/** One result per level. @throws as evaluateRetrieval */
export async function* evaluateMsMarco(options: MsMarcoOptions): AsyncGenerator<MsMarcoResult> {
  const { data, split = msMarcoSplit } = options;
  const passes = planPasses(options);
  const qrels = await readMsMarcoQrels(data, split);
  const queries = await judgedQueries(readMsMarcoQueries(data, split), qrels, data);
  const judged = new JudgedPassages(
    queries.map(({ id }) => id),
    qrels,
  );
  const levels = searchCollection(options, {
    passes,
    documents: () => readMsMarcoCollection(data),
    textOf: ({ text }) => text,
    queries: queries.map(({ text }) => text),
    topK: kept,
    keep: (part) => (query, position) => judged.numberOf(query, part[position]!.id),
  });
  for await (const { level, indexLevel, hits, documentsPerSecond, tokensPerSecond } of levels) {
    yield {
      task: 'msmarco',
      level,
      indexLevel,
      queries: queries.length,
      ...(await judged.metricsOf(hits)),
      documentsPerSecond,
      tokensPerSecond,
    };
  }
}

/** Candidates scored by one call. */
const candidatesPerPart = 4096;

/**
 * One result per level; equal scores keep the file's order. Candidates of queries that are not judged are left out.
 * @throws ELASTICLM_DATA_INVALID, ELASTICLM_FILE_NOT_FOUND, ELASTICLM_LEVEL_UNKNOWN, and what the ranker throws
 */
export async function* evaluateMsMarcoRerank(
  options: MsMarcoRerankOptions,
): AsyncGenerator<MsMarcoRerankResult> {
  const { ranker, data, split, maxLength, signal } = options;
  const levels = resolveLevels(options.levels, ranker);
  const qrels = await readMsMarcoQrels(data, split);
  const positions = new Map([...qrels.keys()].map((id, position) => [id, position]));
  const judged = new JudgedPassages([...qrels.keys()], qrels);
  const total = await countItems(candidatesOf(options, positions), signal);
  checkSome(total, 'candidate of a judged query', data);
  let done = 0;
  for (const level of levels) {
    const hits = new TopHits(kept);
    for await (const part of inParts(candidatesOf(options, positions), candidatesPerPart)) {
      const pairs = part.map(({ query, passage }): [string, string] => [query, passage]);
      const scores = await ranker.score(pairs, { level, maxLength, signal, activation: 'identity' });
      const slices = new Slices(signal);
      for (const [idx, { queryId, passageId }] of part.entries()) {
        if (slices.isOver) await slices.next();
        const query = positions.get(queryId)!;
        const score = scores[idx]!;
        if (hits.accepts(query, score)) hits.add(query, score, judged.numberOf(query, passageId));
      }
      done += part.length;
      options.onProgress?.(done, levels.length * total);
    }
    yield { task: 'msmarco-rerank', level, queries: qrels.size, ...(await judged.metricsOf(hits)) };
  }
}

async function* candidatesOf(
  { data, split }: TaskOptions,
  queryIds: ReadonlyMap<string, unknown>,
): AsyncGenerator<MsMarcoCandidate> {
  for await (const candidate of readMsMarcoCandidates(data, split)) {
    if (queryIds.has(candidate.queryId)) yield candidate;
  }
}

/** Stands for every passage that is not judged: no id in a table holds a tab. */
const notJudged = '\t';

/** The judged passages of each query by number, so that hits are numbers: 0 for a passage that is not judged. */
class JudgedPassages {
  readonly #queryIds: readonly string[];
  readonly #qrels: Qrels;
  /** ids by number, for each query */
  readonly #ids: readonly (readonly string[])[];

  constructor(queryIds: readonly string[], qrels: Qrels) {
    this.#queryIds = queryIds;
    this.#qrels = qrels;
    this.#ids = queryIds.map((id) => [notJudged, ...qrels.get(id)!.keys()]);
  }

  numberOf(query: number, passage: string): number {
    return Math.max(0, this.#ids[query]!.indexOf(passage, 1));
  }

  /** @throws ELASTICLM_DATA_INVALID when a query found a judged passage twice, as the official script does */
  async metricsOf(hits: TopHits): Promise<MsMarcoMetrics> {
    const perQuery = await mapInSlices(this.#queryIds, (id, query) => {
      const ids = this.#ids[query]!;
      const ranked = Array.from(hits.values(query), (number) => ids[number]!);
      checkOnce(ranked, id);
      const judgments = this.#qrels.get(id)!;
      return {
        reciprocalRank: reciprocalRankAt(ranked, judgments, 10),
        recall100: recallAt(ranked, judgments, 100),
        recall1000: recallAt(ranked, judgments, kept),
      };
    });
    return {
      'mrr@10': mean(perQuery.map(({ reciprocalRank }) => reciprocalRank)),
      'recall@100': mean(perQuery.map(({ recall100 }) => recall100)),
      'recall@1000': mean(perQuery.map(({ recall1000 }) => recall1000)),
    };
  }
}

function checkOnce(ranked: readonly string[], query: string): void {
  const judged = ranked.filter((id) => id !== notJudged);
  const twice = judged.find((id, idx) => judged.indexOf(id) < idx);
  if (twice === undefined) return;
  throw ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected: 'each passage once',
    subject: `query ${JSON.stringify(query)}`,
    received: `passage ${JSON.stringify(twice)} twice`,
  });
}
