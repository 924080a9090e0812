/** Queries with the documents that answer them, for contrastive losses with negatives within the batch. */
import type { Tokenizer } from '../tokenizer/index.js';
import { checkCount, checkDataOptions, type DataOptions } from './data-options.js';
import { drawDistinct } from './draws.js';
import { fingerprint } from './fingerprint.js';
import { mixBits } from './random.js';
import { IntList, TokenStore } from './token-store.js';
import type { DescribedData, TrainBatch } from './types.js';

export interface PairDataOptions extends DataOptions {
  /** hard negatives that a pair brings into a micro-batch, of those that it has; default 1 */
  negativesPerPair?: number | undefined;
}

/** One pair, its texts as positions that addText gave. */
export interface Pair {
  query: number;
  document: number;
  /** documents that are like an answer but are none */
  negatives?: readonly number[];
}

export class PairData implements DescribedData {
  readonly #store: TokenStore;
  readonly #tokenizer: Tokenizer;
  readonly #maxLength: number;
  readonly #negativesPerPair: number;
  /** [pairs] */
  readonly #queries = new IntList();
  readonly #documents = new IntList();
  /** [pairs] tokens, those of the longest negatives included */
  readonly #lengths = new IntList();
  /** [pairs + 1], [all negatives] */
  readonly #cuNegatives = new IntList();
  readonly #negatives = new IntList();
  /** all documents of queries that have several */
  readonly #answersOf = new Map<number, number[]>();
  readonly #firstPairOf = new Map<number, number>();

  /** Without pairs at first. @throws ELASTICLM_ARGUMENT_INVALID */
  constructor(tokenizer: Tokenizer, options: PairDataOptions) {
    const { maxLength } = checkDataOptions(options);
    const { negativesPerPair = 1 } = options;
    checkCount('negativesPerPair', negativesPerPair, 0);
    this.#store = new TokenStore(tokenizer.vocabSize);
    this.#tokenizer = tokenizer;
    this.#maxLength = maxLength;
    this.#negativesPerPair = negativesPerPair;
    this.#cuNegatives.push(0);
  }

  /** The position of a text that pairs may name, any number of them. */
  addText(text: string): number {
    return this.#store.add(this.#tokenizer.encode(text, { maxLength: this.#maxLength }));
  }

  addPair({ query, document, negatives = [] }: Pair): void {
    const first = this.#firstPairOf.get(query);
    if (first === undefined) {
      this.#firstPairOf.set(query, this.size);
    } else {
      const answers = this.#answersOf.get(query) ?? [this.#documents.at(first)];
      answers.push(document);
      this.#answersOf.set(query, answers);
    }
    this.#queries.push(query);
    this.#documents.push(document);
    for (const negative of negatives) this.#negatives.push(negative);
    this.#cuNegatives.push(this.#negatives.length);
    const longest = negatives.map((negative) => this.#store.length(negative)).sort((a, b) => b - a);
    this.#lengths.push(
      longest
        .slice(0, this.#negativesPerPair)
        .reduce((sum, length) => sum + length, this.#store.length(query) + this.#store.length(document)),
    );
  }

  /** number of pairs */
  get size(): number {
    return this.#queries.length;
  }

  /** memory of the tokens */
  get bytes(): number {
    return this.#store.bytes;
  }

  length(position: number): number {
    return this.#lengths.at(position);
  }

  /**
   * Pairs of which another one of the micro-batch has the query or the document are left out, and negatives that answer any
   * of its queries: each would be counted as a wrong answer although it is a right one.
   */
  batch(positions: readonly number[], seed: number): Promise<TrainBatch> {
    const queries = new Set<number>();
    const documents = new Set<number>();
    const answers = new Set<number>();
    const kept: number[] = [];
    for (const position of positions) {
      const query = this.#queries.at(position);
      const document = this.#documents.at(position);
      const ofQuery = this.#answersOf.get(query) ?? [document];
      if (queries.has(query) || answers.has(document) || ofQuery.some((answer) => documents.has(answer)))
        continue;
      queries.add(query);
      documents.add(document);
      for (const answer of ofQuery) answers.add(answer);
      kept.push(position);
    }
    const negatives = new Set<number>();
    for (const position of kept) {
      for (const negative of this.#drawNegatives(position, seed)) {
        if (!answers.has(negative)) negatives.add(negative);
      }
    }
    return Promise.resolve({
      batch: this.#store.pack([...queries, ...documents, ...negatives]),
      numQueries: kept.length,
    });
  }

  #drawNegatives(position: number, seed: number): number[] {
    const begin = this.#cuNegatives.at(position);
    const count = this.#cuNegatives.at(position + 1) - begin;
    const drawn = drawDistinct(count, this.#negativesPerPair, mixBits(seed, position));
    return drawn.map((idx) => this.#negatives.at(begin + idx));
  }

  fingerprint(): Promise<string> {
    return fingerprint([
      ...this.#store.arrays(),
      this.#queries.slice(),
      this.#documents.slice(),
      this.#cuNegatives.slice(),
      this.#negatives.slice(),
      Int32Array.of(this.#negativesPerPair),
    ]);
  }
}
