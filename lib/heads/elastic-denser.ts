/** The bi-encoder: texts to vectors whose dot product is their similarity. */
import { describeValue, ElasticError } from '../errors.js';
import type { ElasticModel } from '../model/index.js';
import type { Level } from '../types.js';
import type { RunResult } from './chunked-run.js';
import { readPrompts, type Prompts, type TextKind } from './head-settings.js';
import { TextModel, type HeadLoadOptions, type RunOptions, type RunOutput } from './text-model.js';

export interface EncodeOptions extends RunOptions {
  /** what the texts are, for checkpoints with prompts in `config_sentence_transformers.json` */
  kind?: TextKind | undefined;
}

/** `data` [n, dims] f32 in the texts' order, `levels` [n] that each ran at, `totalTokens` computed. */
export type EncodeResult = RunResult;

export class ElasticDenser {
  /** the model below, for its levels, config and info() */
  readonly model: ElasticModel;
  readonly #text: TextModel;
  readonly #prompts: Prompts;
  readonly #output: RunOutput;

  private constructor(text: TextModel, prompts: Prompts) {
    this.#text = text;
    this.model = text.model;
    this.#prompts = prompts;
    const { pooling, normalize } = text.model.checkpoint;
    this.#output = { output: 'pooled', pooling: pooling ?? 'mean', normalize: normalize ?? true };
  }

  /**
   * Loads a checkpoint's folder. Pooling and normalising follow `elastic.json`, else sentence-transformers' `modules.json`,
   * else mean pooling and vectors of length 1.
   * @throws what ElasticModel.load throws, ELASTICLM_TOKENIZER_INVALID, ELASTICLM_TOKENIZER_UNSUPPORTED
   */
  static async load(directory: string, options: HeadLoadOptions = {}): Promise<ElasticDenser> {
    const text = await TextModel.load(directory, options);
    try {
      return new ElasticDenser(text, await readPrompts(text.model.directory));
    } catch (error) {
      await text.close();
      throw error;
    }
  }

  /** Levels that the checkpoint holds, falling. */
  get levels(): readonly Level[] {
    return this.model.levels;
  }

  /** Floats of one vector. */
  get dims(): number {
    return this.model.config.hiddenSize;
  }

  /**
   * Vectors of texts, [n, dims] in their order; a single string is one text, and an empty text is a text. Any number of
   * texts may be given: they are computed in chunks of bounded memory, away from the event loop.
   * @throws ELASTICLM_ARGUMENT_INVALID (naming the text's position), ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_CALL_ABORTED,
   * ELASTICLM_MODEL_CLOSED
   */
  async encode(texts: string | readonly string[], options: EncodeOptions = {}): Promise<EncodeResult> {
    const list = typeof texts === 'string' ? [texts] : texts;
    const prompt = this.#promptOf(options.kind);
    checkTexts(list);
    const prompted = prompt === '' ? list : list.map((text) => prompt + text);
    return this.#text.run(prompted, this.#output, options);
  }

  #promptOf(kind: TextKind | undefined): string {
    const known: unknown = kind ?? 'default';
    if (known === 'query' || known === 'document' || known === 'default') return this.#prompts[known];
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: "'query' or 'document'",
      subject: 'options.kind',
      received: describeValue(kind),
    });
  }

  /** Waits for the work in flight, then frees the model. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#text.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function checkTexts(texts: readonly unknown[]): void {
  const idx = Array.isArray(texts) ? texts.findIndex((text) => typeof text !== 'string') : -1;
  if (Array.isArray(texts) && idx < 0) return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: idx < 0 ? 'a string or an array of strings' : 'a string',
    subject: idx < 0 ? 'texts' : `text ${idx}`,
    received: describeValue(idx < 0 ? texts : texts[idx]),
  });
}
