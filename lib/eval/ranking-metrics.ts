/**
 * Ranking metrics by trec_eval's definitions, its order of equal scores included. Own code: the packages on npm break ties
 * by input order or take binary relevance only, and the published numbers we are compared with come from trec_eval.
 */
import { ElasticError } from '../errors.js';

/** Judged documents of one query: document id to relevance. A document that is absent has not been judged. */
export type Judgments = ReadonlyMap<string, number>;

/** Judgments of a collection: query id to judged documents. */
export type Qrels = ReadonlyMap<string, Judgments>;

export interface ScoredDocument {
  id: string;
  score: number;
}

/** Relevance from which a document counts as relevant where only yes or no matters (trec_eval's `-l`). */
const relevantFrom = 1;

/**
 * The ids of a run in trec_eval's order: score falling, read in single precision; equal scores by document id falling,
 * compared as UTF-8 bytes.
 * @throws ELASTICLM_DATA_INVALID when a document occurs twice or a score is not a number
 */
export function rankRun(run: readonly ScoredDocument[]): string[] {
  const seen = new Set<string>();
  const ranked = run.map(({ id, score }) => {
    if (Number.isNaN(score) || seen.has(id)) {
      throw ElasticError.of('ELASTICLM_DATA_INVALID', {
        expected: 'each document once, with a score that is a number',
        subject: 'a run',
        received: `document ${JSON.stringify(id)} ${seen.has(id) ? 'twice' : 'with NaN'}`,
      });
    }
    seen.add(id);
    return { id, score: Math.fround(score) };
  });
  ranked.sort((a, b) => b.score - a.score || compareCodePoints(b.id, a.id));
  return ranked.map(({ id }) => id);
}

/** The order of UTF-8 bytes, which is that of code points; JavaScript's `<` is that of UTF-16 units. */
function compareCodePoints(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/**
 * ndcg_cut_k: Σ gain / log2(rank + 1) over the first `k` documents, gain = relevance, over the same sum for the best order
 * of all judged documents. 0 when nothing is relevant.
 */
export function ndcgAt(ranked: readonly string[], judgments: Judgments, k: number): number {
  const ideal = discountedGain(
    [...judgments.values()].sort((a, b) => b - a),
    k,
  );
  if (ideal === 0) return 0;
  return (
    discountedGain(
      ranked.slice(0, k).map((id) => judgments.get(id) ?? 0),
      k,
    ) / ideal
  );
}

/** Σ over the first `k` of gain / log2(rank + 1); negative judgments (trec_eval: spam, unread) gain nothing. */
function discountedGain(gains: readonly number[], k: number): number {
  let sum = 0;
  for (const [idx, gain] of gains.slice(0, k).entries()) {
    if (gain > 0) sum += gain / Math.log2(idx + 2);
  }
  return sum;
}

/** recip_rank over the first `k` documents: 1 / rank of the first relevant one, 0 without one. */
export function reciprocalRankAt(ranked: readonly string[], judgments: Judgments, k: number): number {
  const idx = ranked.slice(0, k).findIndex((id) => isRelevant(judgments, id));
  return idx < 0 ? 0 : 1 / (idx + 1);
}

/** recall_k: the share of the relevant documents that is among the first `k`; 0 when nothing is relevant. */
export function recallAt(ranked: readonly string[], judgments: Judgments, k: number): number {
  const numRelevant = countRelevant(judgments);
  if (numRelevant === 0) return 0;
  return ranked.slice(0, k).filter((id) => isRelevant(judgments, id)).length / numRelevant;
}

/** map for one query: the mean, over all relevant documents, of the precision at each one's rank (0 if not retrieved). */
export function averagePrecision(ranked: readonly string[], judgments: Judgments): number {
  const numRelevant = countRelevant(judgments);
  if (numRelevant === 0) return 0;
  let found = 0;
  let sum = 0;
  for (const [idx, id] of ranked.entries()) {
    if (!isRelevant(judgments, id)) continue;
    found += 1;
    sum += found / (idx + 1);
  }
  return sum / numRelevant;
}

function isRelevant(judgments: Judgments, id: string): boolean {
  return (judgments.get(id) ?? 0) >= relevantFrom;
}

function countRelevant(judgments: Judgments): number {
  let count = 0;
  for (const relevance of judgments.values()) if (relevance >= relevantFrom) count += 1;
  return count;
}

/** The mean of a metric over queries; 0 over none. */
export function mean(values: readonly number[]): number {
  if (values.length === 0) return 0;
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
