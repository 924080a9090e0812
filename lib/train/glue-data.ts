/** Sentences and pairs with a label or a score: the train splits of GLUE. */
import { readGlue, type GlueTask } from '../eval/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { checkDataOptions, type DataOptions } from './data-options.js';
import { fingerprint } from './fingerprint.js';
import { Slices } from '../slices.js';
import { TokenStore } from './token-store.js';
import type { DescribedData, TrainBatch } from './types.js';

export interface GlueDataOptions extends DataOptions {
  task: GlueTask;
  /** the task's own folder, or the folder of all GLUE tasks */
  data: string;
  /** default train */
  split?: string | undefined;
}

export class GlueData implements DescribedData {
  /** whether the targets are scores, not classes */
  readonly isRegression: boolean;
  readonly #store: TokenStore;
  readonly #targets: Float32Array;

  private constructor(store: TokenStore, targets: Float32Array, isRegression: boolean) {
    this.#store = store;
    this.#targets = targets;
    this.isRegression = isRegression;
  }

  /** @throws as readGlue; ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED */
  static async load(tokenizer: Tokenizer, options: GlueDataOptions): Promise<GlueData> {
    const { maxLength, signal } = checkDataOptions(options);
    const store = new TokenStore(tokenizer.vocabSize);
    const targets: number[] = [];
    const slices = new Slices(signal);
    for await (const { texts, target } of readGlue(options.task, options.data, options.split ?? 'train')) {
      store.add(
        typeof texts === 'string'
          ? tokenizer.encode(texts, { maxLength })
          : tokenizer.encodePair(texts[0], texts[1], { maxLength }),
      );
      targets.push(target);
      if (slices.isOver) await slices.next();
    }
    return new GlueData(store, Float32Array.from(targets), options.task === 'stsb');
  }

  get size(): number {
    return this.#store.count;
  }

  length(position: number): number {
    return this.#store.length(position);
  }

  batch(positions: readonly number[]): Promise<TrainBatch> {
    const targets = Float32Array.from(positions, (position) => this.#targets[position]!);
    const batch = this.#store.pack(positions);
    return Promise.resolve(
      this.isRegression ? { batch, targets } : { batch, labels: Int32Array.from(targets) },
    );
  }

  fingerprint(): Promise<string> {
    return fingerprint([...this.#store.arrays(), this.#targets]);
  }
}
