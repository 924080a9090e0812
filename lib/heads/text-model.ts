/** A checkpoint with its tokenizer: what every head stands on. */
import { describeValue, ElasticError, throwIfAborted } from '../errors.js';
import { ElasticModel, type ForwardOptions, type LoadOptions } from '../model/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import { runInChunks, type RunResult } from './chunked-run.js';

/** One text, or two that are read together: "[CLS] a [SEP] b [SEP]". */
export type TextOrPair = string | readonly [string, string];

export interface RunOptions {
  /** one level for all items, or one for each; default 1 */
  level?: number | readonly number[] | undefined;
  /** longest sequence in tokens, special tokens included; longer ones are cut. Default: the checkpoint's own */
  maxLength?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What is computed for each item. */
export type RunOutput = Pick<ForwardOptions, 'pooling' | 'normalize'> & { output: 'pooled' | 'logits' };

export class TextModel {
  readonly model: ElasticModel;
  readonly tokenizer: Tokenizer;

  private constructor(model: ElasticModel, tokenizer: Tokenizer) {
    this.model = model;
    this.tokenizer = tokenizer;
  }

  /** @throws what ElasticModel.load and Tokenizer.load throw */
  static async load(directory: string, options: LoadOptions = {}): Promise<TextModel> {
    const model = await ElasticModel.load(directory, options);
    try {
      return new TextModel(model, await Tokenizer.load(model.directory));
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /**
   * One row per item, in their order.
   * @throws ELASTICLM_ARGUMENT_INVALID (naming the item's position) and what ElasticModel.forward throws
   */
  async run(items: readonly TextOrPair[], output: RunOutput, options: RunOptions): Promise<RunResult> {
    const { level, signal } = options;
    checkItems(items);
    checkLevels(level, items.length);
    const maxLength = this.#maxLength(options.maxLength);
    throwIfAborted(signal);
    const { config, checkpoint } = this.model;
    return runInChunks({
      count: items.length,
      dims: output.output === 'logits' ? checkpoint.numLabels : config.hiddenSize,
      tokenize: (idx) => {
        const item = items[idx]!;
        return typeof item === 'string'
          ? this.tokenizer.encode(item, { maxLength })
          : this.tokenizer.encodePair(item[0], item[1], { maxLength });
      },
      forward: (batch, chunk) =>
        this.model.forward(batch, {
          ...output,
          ...(level === undefined
            ? {}
            : { level: typeof level === 'number' ? level : chunk.map((idx) => level[idx]!) }),
          ...(signal === undefined ? {} : { signal }),
        }),
      signal,
    });
  }

  #maxLength(asked: number | undefined): number {
    const limit = this.model.config.maxPositionEmbeddings;
    if (asked === undefined) return Math.min(this.model.checkpoint.maxLength, limit);
    if (Number.isInteger(asked) && asked >= 1 && asked <= limit) return asked;
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: `a whole number from 1 to ${limit}, the positions that the checkpoint has`,
      subject: 'maxLength',
      received: describeValue(asked),
    });
  }

  close(): Promise<void> {
    return this.model.close();
  }
}

function checkItems(items: readonly unknown[]): void {
  if (!Array.isArray(items)) {
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'an array of texts or pairs of texts',
      subject: 'the input',
      received: describeValue(items),
    });
  }
  for (const [idx, item] of items.entries()) {
    if (typeof item === 'string' || isPair(item)) continue;
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'a string or a pair of strings',
      subject: `text ${idx}`,
      received: describeValue(item),
    });
  }
}

function isPair(item: unknown): boolean {
  return Array.isArray(item) && item.length === 2 && item.every((text) => typeof text === 'string');
}

function checkLevels(level: number | readonly number[] | undefined, count: number): void {
  if (typeof level !== 'object' || level.length === count) return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: `one level, or one for each of ${count} texts`,
    subject: 'level',
    received: describeValue(level),
  });
}
