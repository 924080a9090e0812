/** Running text as training examples: whole passages, and the short texts that queries look like. */
import type { Tokenizer } from '../tokenizer/index.js';
import { checkDataOptions, invalidOption, type DataOptions } from './data-options.js';
import { mixBits } from './random.js';
import { uniform } from './draws.js';
import type { Exclusions } from './exclusions.js';
import { fingerprint } from './fingerprint.js';
import { Slices } from '../slices.js';
import { countWords, passageText, sentencesOf, type TrainingText } from './text-files.js';
import { TokenStore } from './token-store.js';
import type { DescribedData, TrainBatch } from './types.js';

/** What is made of a passage: itself with its title, one of its sentences, its title. */
export type TextKindOfExample = 'passage' | 'sentence' | 'title';

export interface TextDataOptions extends DataOptions {
  /**
   * relative numbers of examples; default 0.6 passages, 0.25 sentences, 0.15 titles. Titles of several passages count once,
   * so there may be fewer of them.
   */
  shares?: Partial<Record<TextKindOfExample, number>> | undefined;
  /** passages to leave out */
  exclude?: Exclusions | undefined;
  /** stop reading after so many passages */
  maxPassages?: number | undefined;
}

const defaultShares: Readonly<Record<TextKindOfExample, number>> = {
  passage: 0.6,
  sentence: 0.25,
  title: 0.15,
};
const kinds: readonly TextKindOfExample[] = ['passage', 'sentence', 'title'];
/** Shorter sentences are mostly remains of lists; longer ones are no shorter than passages. */
const sentenceWords = { least: 4, most: 40 };

export class TextData implements DescribedData {
  /** examples of each kind */
  readonly counts: Readonly<Record<TextKindOfExample, number>>;
  readonly #store: TokenStore;

  private constructor(store: TokenStore, counts: Record<TextKindOfExample, number>) {
    this.#store = store;
    this.counts = counts;
  }

  /**
   * Reads and tokenises all texts, a few at a time. Which examples there are is a function of texts, options and seed.
   * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED and what the source of the texts throws
   */
  static async load(
    texts: Iterable<TrainingText> | AsyncIterable<TrainingText>,
    tokenizer: Tokenizer,
    options: TextDataOptions,
  ): Promise<TextData> {
    const { maxLength, seed, signal } = checkDataOptions(options);
    const { exclude, maxPassages = Infinity } = options;
    const rates = ratesOf(options.shares);
    const store = new TokenStore(tokenizer.vocabSize);
    const counts = { passage: 0, sentence: 0, title: 0 };
    const slices = new Slices(signal);
    let passage = 0;
    let usedTitle = '';
    for await (const text of texts) {
      if (passage >= maxPassages) break;
      if (exclude?.hasPassage(text) === true) continue;
      const isDrawn = (kind: TextKindOfExample): boolean =>
        uniform(seed, passage, kinds.indexOf(kind)) < rates[kind];
      const add = (kind: TextKindOfExample, example: string | undefined): void => {
        if (example === undefined || example.trim() === '') return;
        store.add(tokenizer.encode(example, { maxLength }));
        counts[kind] += 1;
      };
      if (isDrawn('passage')) add('passage', passageText(text));
      if (isDrawn('sentence')) add('sentence', drawSentence(text.text, mixBits(seed, passage)));
      if (isDrawn('title') && text.title !== usedTitle) {
        add('title', text.title);
        usedTitle = text.title;
      }
      passage += 1;
      if (slices.isOver) await slices.next();
    }
    return new TextData(store, counts);
  }

  get size(): number {
    return this.#store.count;
  }

  get totalTokens(): number {
    return this.#store.totalTokens;
  }

  /** memory of the tokens */
  get bytes(): number {
    return this.#store.bytes;
  }

  length(position: number): number {
    return this.#store.length(position);
  }

  batch(positions: readonly number[]): Promise<TrainBatch> {
    return Promise.resolve({ batch: this.#store.pack(positions) });
  }

  fingerprint(): Promise<string> {
    return fingerprint(this.#store.arrays());
  }
}

/** How many examples of each kind a passage gives, in the mean and before titles are counted once: the most frequent kind 1. */
function ratesOf(shares: TextDataOptions['shares']): Record<TextKindOfExample, number> {
  const given = shares === undefined ? defaultShares : { passage: 0, sentence: 0, title: 0, ...shares };
  const most = Math.max(...kinds.map((kind) => given[kind]));
  if (!(most > 0) || !kinds.every((kind) => given[kind] >= 0 && Number.isFinite(given[kind]))) {
    throw invalidOption('shares', 'numbers of at least 0, one of them above 0', shares);
  }
  return { passage: given.passage / most, sentence: given.sentence / most, title: given.title / most };
}

function drawSentence(text: string, bits: number): string | undefined {
  const sentences = sentencesOf(text).filter((sentence) => {
    const words = countWords(sentence);
    return words >= sentenceWords.least && words <= sentenceWords.most;
  });
  return sentences[bits % sentences.length];
}
