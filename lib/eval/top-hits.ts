import { ElasticError } from '../errors.js';

/** The best hits of one query so far. */
interface QueryHits {
  count: number;
  /** [k] falling */
  scores: Float32Array;
  /** [k] what was kept of each hit */
  values: Uint32Array;
}

/**
 * The best `k` hits of many queries, gathered from parts of a collection: 8 bytes a hit. Equal scores stay in the order of
 * their coming, so that a collection gives the same hits in parts as in one piece.
 */
export class TopHits {
  readonly #k: number;
  /** of the queries that have hits, by their position */
  readonly #queries = new Map<number, QueryHits>();

  constructor(k: number) {
    this.#k = k;
  }

  /** Whether a hit of this score would be among the best. @throws ELASTICLM_DATA_INVALID for NaN */
  accepts(query: number, score: number): boolean {
    if (Number.isNaN(score)) {
      throw ElasticError.of('ELASTICLM_DATA_INVALID', {
        expected: 'a score that is a number',
        subject: `query ${query}`,
        received: 'NaN',
      });
    }
    const hits = this.#queries.get(query);
    return hits === undefined || hits.count < this.#k || score > hits.scores[this.#k - 1]!;
  }

  /** Adds a hit that is accepted; the worst one leaves when there are `k` already. */
  add(query: number, score: number, value: number): void {
    const hits = this.#hitsOf(query);
    const { scores, values } = hits;
    hits.count = Math.min(hits.count + 1, this.#k);
    const position = positionOf(score, scores.subarray(0, hits.count - 1));
    scores.copyWithin(position + 1, position, hits.count - 1);
    values.copyWithin(position + 1, position, hits.count - 1);
    scores[position] = score;
    values[position] = value;
  }

  /** [n ≤ k] scores of a query, falling. */
  scores(query: number): Float32Array {
    const hits = this.#queries.get(query);
    return hits === undefined ? new Float32Array() : hits.scores.subarray(0, hits.count);
  }

  /** [n ≤ k] what was kept of a query's hits, best first. */
  values(query: number): Uint32Array {
    const hits = this.#queries.get(query);
    return hits === undefined ? new Uint32Array() : hits.values.subarray(0, hits.count);
  }

  #hitsOf(query: number): QueryHits {
    let hits = this.#queries.get(query);
    if (hits === undefined) {
      hits = { count: 0, scores: new Float32Array(this.#k), values: new Uint32Array(this.#k) };
      this.#queries.set(query, hits);
    }
    return hits;
  }
}

/** Where `score` goes among falling ones: behind its equals. */
function positionOf(score: number, scores: Float32Array): number {
  let begin = 0;
  for (let end = scores.length; begin < end;) {
    const middle = (begin + end) >> 1;
    if (scores[middle]! >= score) begin = middle + 1;
    else end = middle;
  }
  return begin;
}
