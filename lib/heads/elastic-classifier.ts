/** The classifier: a text or a pair to one of several labels. */
import { ElasticError } from '../errors.js';
import type { ElasticModel } from '../model/index.js';
import type { Level } from '../types.js';
import type { RunResult } from './chunked-run.js';
import { TextModel, type HeadLoadOptions, type RunOptions, type TextOrPair } from './text-model.js';

export interface Classification {
  /** the label of the highest score; of equal ones the first */
  label: string;
  /** its probability */
  score: number;
  /** [numLabels] probabilities in the order of `labels` */
  scores: number[];
}

export class ElasticClassifier {
  /** the model below, for its levels, config and info() */
  readonly model: ElasticModel;
  /** [numLabels] names from the checkpoint's id2label; LABEL_0, LABEL_1, … where it has none */
  readonly labels: readonly string[];
  readonly #text: TextModel;

  private constructor(text: TextModel) {
    this.#text = text;
    this.model = text.model;
    const { id2label, numLabels } = text.model.checkpoint;
    this.labels = id2label ?? Array.from({ length: numLabels }, (_, idx) => `LABEL_${idx}`);
  }

  /**
   * Loads the folder of a sequence classification checkpoint with two labels or more.
   * @throws what ElasticModel.load throws, ELASTICLM_HEAD_MISSING
   */
  static async load(directory: string, options: HeadLoadOptions = {}): Promise<ElasticClassifier> {
    const text = await TextModel.load(directory, options);
    const { numLabels } = text.model.checkpoint;
    if (numLabels >= 2) return new ElasticClassifier(text);
    await text.close();
    throw ElasticError.of('ELASTICLM_HEAD_MISSING', {
      expected: 'a classifier of two labels or more',
      subject: text.model.directory,
      received: numLabels === 0 ? 'none' : 'one of one label',
      ...(numLabels === 0 ? {} : { remedy: 'Load it with ElasticRanker' }),
    });
  }

  /** Levels that the checkpoint holds, falling. */
  get levels(): readonly Level[] {
    return this.model.levels;
  }

  /**
   * One result per text or pair, in their order. Probabilities are the softmax of the logits.
   * @throws ELASTICLM_ARGUMENT_INVALID (naming the text's position), ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_CALL_ABORTED,
   * ELASTICLM_MODEL_CLOSED
   */
  async classify(inputs: readonly TextOrPair[], options: RunOptions = {}): Promise<Classification[]> {
    const { data, dims } = await this.logits(inputs, options);
    return inputs.map((_, idx) => {
      const scores = softmax(data.subarray(idx * dims, (idx + 1) * dims));
      const score = Math.max(...scores);
      return { label: this.labels[scores.indexOf(score)]!, score, scores };
    });
  }

  /** The logits, [n, numLabels]. @throws as classify() */
  logits(inputs: readonly TextOrPair[], options: RunOptions = {}): Promise<RunResult> {
    return this.#text.run(inputs, { output: 'logits' }, options);
  }

  /** Waits for the work in flight, then frees the model. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#text.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Shifted by the largest logit, so that no exponential overflows. */
function softmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
