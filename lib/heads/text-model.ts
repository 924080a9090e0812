/** A checkpoint with its tokenizer: what every head stands on. */
import { describeValue, ElasticError, throwIfAborted } from '../errors.js';
import { ElasticModel, type ForwardOptions, type LoadOptions } from '../model/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import type { Encoding } from '../types.js';
import { runInChunks, type RunResult } from './chunked-run.js';

/** One text, or two that are read together: "[CLS] a [SEP] b [SEP]". */
export type TextOrPair = string | readonly [string, string];

export interface RunOptions {
  /** one level for all items, or one for each; default 1 */
  level?: number | readonly number[] | undefined;
  /** longest sequence in tokens, special tokens included; longer ones are cut. Default: the checkpoint's own */
  maxLength?: number | undefined;
  /** for a head that was loaded with a schedule as its runner; not together with `level` */
  schedule?: ScheduleHints | undefined;
  signal?: AbortSignal | undefined;
}

/** What a schedule is told of a call, and tells of it. */
export interface ScheduleHints {
  /** from now to the result; default: the schedule's own */
  deadlineMs?: number | undefined;
  /** every item runs at a level between these, both included; default: any */
  minLevel?: number | undefined;
  maxLevel?: number | undefined;
  /** default 'interactive' */
  priority?: 'interactive' | 'bulk' | undefined;
  /** told once, when all items have run */
  onServed?: ((facts: ServedFacts) => void) | undefined;
}

export interface ServedFacts {
  /** [count] that each item ran at */
  levels: readonly number[];
  /** of the item that waited longest before its batch, in ms */
  queueDelayMs: number;
  /** of the item whose batch took longest, in ms */
  serviceMs: number;
  totalTokens: number;
}

/** What is computed for each item. */
export type RunOutput = Pick<ForwardOptions, 'pooling' | 'normalize'> & { output: 'pooled' | 'logits' };

/** A call of a head: its items, and what is wanted of them. */
export interface HeadRun {
  /** number of items */
  count: number;
  /** floats of one item's result */
  dims: number;
  tokenize: (item: number) => Encoding;
  output: RunOutput;
  options: RunOptions;
}

/** Who computes a head's items; by default the model itself, in chunks. */
export interface Runner {
  run(run: HeadRun): Promise<RunResult>;
  /** Waits for the work in flight. The model is closed after it. */
  close(): Promise<void>;
}

export interface HeadLoadOptions extends LoadOptions {
  /** e.g. a schedule: see ModelSchedule */
  runner?: ((model: ElasticModel) => Promise<Runner>) | undefined;
}

export class TextModel {
  readonly model: ElasticModel;
  readonly tokenizer: Tokenizer;
  readonly #runner: Runner | undefined;

  private constructor(model: ElasticModel, tokenizer: Tokenizer, runner: Runner | undefined) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.#runner = runner;
  }

  /** @throws what ElasticModel.load, Tokenizer.load and the runner's maker throw */
  static async load(directory: string, options: HeadLoadOptions = {}): Promise<TextModel> {
    const { runner, ...loadOptions } = options;
    const model = await ElasticModel.load(directory, loadOptions);
    try {
      const tokenizer = await Tokenizer.load(model.directory);
      return new TextModel(model, tokenizer, await runner?.(model));
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
    checkItems(items);
    checkLevels(options.level, items.length);
    checkSchedule(options, this.#runner !== undefined);
    const maxLength = this.#maxLength(options.maxLength);
    throwIfAborted(options.signal);
    const { config, checkpoint } = this.model;
    const run: HeadRun = {
      count: items.length,
      dims: output.output === 'logits' ? checkpoint.numLabels : config.hiddenSize,
      tokenize: (idx) => {
        const item = items[idx]!;
        return typeof item === 'string'
          ? this.tokenizer.encode(item, { maxLength })
          : this.tokenizer.encodePair(item[0], item[1], { maxLength });
      },
      output,
      options,
    };
    return this.#runner === undefined ? this.#runChunks(run) : this.#runner.run(run);
  }

  #runChunks({ count, dims, tokenize, output, options }: HeadRun): Promise<RunResult> {
    const { level, signal } = options;
    return runInChunks({
      count,
      dims,
      tokenize,
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

  /** Every call returns a promise that is fulfilled when runner and model are closed. */
  async close(): Promise<void> {
    await this.#runner?.close();
    await this.model.close();
  }
}

function checkSchedule({ schedule, level }: RunOptions, isScheduled: boolean): void {
  if (schedule === undefined || (isScheduled && level === undefined)) return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: isScheduled ? 'either a level or a schedule' : 'none, since this head has no schedule',
    subject: 'options.schedule',
    received: isScheduled ? 'both' : describeValue(schedule),
  });
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
