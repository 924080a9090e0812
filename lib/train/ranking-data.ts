/** Questions with candidate answers, one list each: WikiQA's train split. */
import { readWikiQa, type WikiQaQuestion } from '../eval/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { checkCount, checkDataOptions, type DataOptions } from './data-options.js';
import { drawDistinct } from './draws.js';
import { fingerprint } from './fingerprint.js';
import { mixBits } from './random.js';
import { Slices } from '../slices.js';
import { IntList, TokenStore } from './token-store.js';
import type { DescribedData, TrainBatch } from './types.js';

export interface RankingDataOptions extends DataOptions {
  /** folder of `<split>.tsv` */
  data: string;
  /** default train */
  split?: string | undefined;
  /** candidates of a list at most; default 16. Of a longer list all answers stay, and negatives drawn anew for each micro-batch. */
  listSize?: number | undefined;
  /** keep questions without an answer among their candidates: a teacher's scores can be learned from them; default false */
  keepUnanswered?: boolean | undefined;
}

const defaultListSize = 16;

export class RankingData implements DescribedData {
  readonly #store: TokenStore;
  /** [lists + 1] where each list's candidates begin in the store: answers first */
  readonly #cuLists = new IntList();
  /** [lists] answers of each */
  readonly #numAnswers = new IntList();
  /** [lists] tokens of the longest candidates, as many as a micro-batch takes */
  readonly #lengths = new IntList();
  readonly #listSize: number;

  private constructor(listSize: number, vocabSize: number) {
    this.#listSize = listSize;
    this.#store = new TokenStore(vocabSize);
    this.#cuLists.push(0);
  }

  /** @throws as readWikiQa; ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED */
  static async load(tokenizer: Tokenizer, options: RankingDataOptions): Promise<RankingData> {
    const { maxLength, signal } = checkDataOptions(options);
    const { listSize = defaultListSize, keepUnanswered = false } = options;
    checkCount('listSize', listSize, 2);
    const data = new RankingData(listSize, tokenizer.vocabSize);
    const slices = new Slices(signal);
    for await (const question of readWikiQa(options.data, options.split ?? 'train')) {
      if (keepUnanswered || question.candidates.some(({ answers }) => answers)) {
        data.#add(question, tokenizer, maxLength);
      }
      if (slices.isOver) await slices.next();
    }
    return data;
  }

  #add({ question, candidates }: WikiQaQuestion, tokenizer: Tokenizer, maxLength: number): void {
    const answers = candidates.filter((candidate) => candidate.answers);
    const others = candidates.filter((candidate) => !candidate.answers);
    const lengths = [...answers, ...others].map(({ sentence }) => {
      const encoding = tokenizer.encodePair(question, sentence, { maxLength });
      this.#store.add(encoding);
      return encoding.inputIds.length;
    });
    this.#cuLists.push(this.#store.count);
    this.#numAnswers.push(answers.length);
    const kept = Math.min(answers.length, this.#listSize);
    this.#lengths.push(
      sumOfLongest(lengths.slice(0, answers.length), kept) +
        sumOfLongest(lengths.slice(answers.length), this.#listSize - kept),
    );
  }

  /** number of lists */
  get size(): number {
    return this.#numAnswers.length;
  }

  length(position: number): number {
    return this.#lengths.at(position);
  }

  batch(positions: readonly number[], seed: number): Promise<TrainBatch> {
    const sequences: number[] = [];
    const relevance: number[] = [];
    const cuLists = [0];
    for (const [list, position] of positions.entries()) {
      const begin = this.#cuLists.at(position);
      const numAnswers = this.#numAnswers.at(position);
      const listSeed = mixBits(seed, list);
      const answers = drawDistinct(numAnswers, this.#listSize, mixBits(listSeed, 0));
      const numOthers = this.#cuLists.at(position + 1) - begin - numAnswers;
      const others = drawDistinct(numOthers, this.#listSize - answers.length, mixBits(listSeed, 1));
      sequences.push(...answers.map((idx) => begin + idx), ...others.map((idx) => begin + numAnswers + idx));
      relevance.push(...answers.map(() => 1), ...others.map(() => 0));
      cuLists.push(sequences.length);
    }
    return Promise.resolve({
      batch: this.#store.pack(sequences),
      cuLists: Int32Array.from(cuLists),
      relevance: Float32Array.from(relevance),
    });
  }

  fingerprint(): Promise<string> {
    const settings = Int32Array.of(this.#listSize);
    return fingerprint([...this.#store.arrays(), this.#cuLists.slice(), this.#numAnswers.slice(), settings]);
  }
}

function sumOfLongest(lengths: readonly number[], count: number): number {
  const longest = [...lengths].sort((a, b) => b - a).slice(0, count);
  return longest.reduce((sum, length) => sum + length, 0);
}
