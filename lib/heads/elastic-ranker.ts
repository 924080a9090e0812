/** The cross-encoder: a query and a document read together, to one score. */
import { describeValue, ElasticError } from '../errors.js';
import type { ElasticModel } from '../model/index.js';
import type { Level } from '../types.js';
import { readActivation, type Activation } from './head-settings.js';
import { TextModel, type HeadLoadOptions, type RunOptions } from './text-model.js';

export interface RankerLoadOptions extends HeadLoadOptions {
  /** what turns a logit into a score; default: what the checkpoint's config.json names, else 'sigmoid' */
  activation?: Activation;
}

export interface ScoreOptions extends RunOptions {
  /** the checkpoint's own activation, or 'identity' for raw logits */
  activation?: Activation | undefined;
}

export interface RankOptions extends ScoreOptions {
  /** how many of the best to return; default all */
  topK?: number | undefined;
}

export interface RankedDocument {
  /** position in `documents` */
  index: number;
  score: number;
}

export class ElasticRanker {
  /** the model below, for its levels, config and info() */
  readonly model: ElasticModel;
  readonly #text: TextModel;
  readonly #activation: Activation;

  private constructor(text: TextModel, activation: Activation) {
    this.#text = text;
    this.model = text.model;
    this.#activation = activation;
  }

  /**
   * Loads the folder of a sequence classification checkpoint with one label.
   * @throws what ElasticModel.load throws, ELASTICLM_HEAD_MISSING, ELASTICLM_CONFIG_UNSUPPORTED (an activation not known)
   */
  static async load(directory: string, options: RankerLoadOptions = {}): Promise<ElasticRanker> {
    const { activation, ...loadOptions } = options;
    const text = await TextModel.load(directory, loadOptions);
    try {
      const { numLabels } = text.model.checkpoint;
      if (numLabels !== 1) {
        throw ElasticError.of('ELASTICLM_HEAD_MISSING', {
          expected: 'a classifier of one label',
          subject: text.model.directory,
          received: numLabels === 0 ? 'none' : `one of ${numLabels} labels`,
          ...(numLabels === 0 ? {} : { remedy: 'Load it with ElasticClassifier' }),
        });
      }
      return new ElasticRanker(text, activation ?? (await readActivation(text.model.directory)));
    } catch (error) {
      await text.close();
      throw error;
    }
  }

  /** Levels that the checkpoint holds, falling. */
  get levels(): readonly Level[] {
    return this.model.levels;
  }

  /**
   * Documents by falling score; equal scores by rising position.
   * @throws ELASTICLM_ARGUMENT_INVALID (naming the document's position), ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_CALL_ABORTED,
   * ELASTICLM_MODEL_CLOSED
   */
  async rank(
    query: string,
    documents: readonly string[],
    options: RankOptions = {},
  ): Promise<RankedDocument[]> {
    const { topK } = options;
    if (typeof query !== 'string') throw invalid('query', 'a string', query);
    if (!Array.isArray(documents)) throw invalid('documents', 'an array of strings', documents);
    if (topK !== undefined && (!Number.isInteger(topK) || topK < 1)) {
      throw invalid('topK', 'a whole number of at least 1', topK);
    }
    const pairs = documents.map((document: unknown, idx): [string, string] => {
      if (typeof document !== 'string') throw invalid(`document ${idx}`, 'a string', document);
      return [query, document];
    });
    const scores = await this.score(pairs, options);
    return Array.from(scores, (score, index) => ({ index, score }))
      .sort((a, b) => b.score - a.score || a.index - b.index)
      .slice(0, topK);
  }

  /** The scores of [query, document] pairs, [n] in their order. @throws as rank() */
  async score(
    pairs: readonly (readonly [string, string])[],
    options: ScoreOptions = {},
  ): Promise<Float32Array> {
    const { data } = await this.#text.run(pairs, { output: 'logits' }, options);
    return (options.activation ?? this.#activation) === 'sigmoid' ? data.map(sigmoid) : data;
  }

  /** Waits for the work in flight, then frees the model. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#text.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject,
    received: describeValue(received),
  });
}
