/** The two ways to find out which heads and neurons matter. */
import { NativeTrainer, outgoingNorms, resolveIsa, resolveThreads } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import type { ElasticImportance, ElasticModel, LoadOptions } from '../model/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import type { LossName, Objective, TrainBatch } from '../types.js';
import { calibrate } from './calibrate.js';
import { activationImportance, normalizePerLayer, type Importance } from './importance.js';
import { meanMaskGradients } from './mask-gradients.js';
import { sampleTexts } from './sample.js';

interface CommonOptions {
  /**
   * Divide the importance of each layer's heads, and of its neurons, by its L2 norm before the ranking over the whole model.
   * Default true for 'mask-gradient', as in the paper; false for 'activation-norm', which keeps more quality without:
   * docs/design/0003-label-free-ranking-without-layer-norm.md
   */
  normalizeLayers?: boolean;
  /** picks the texts, or picked the batches; default 1. The same input, seed and numbers give the same checkpoint. */
  seed?: number;
  signal?: AbortSignal;
}

/** Mean activation norm times norm of the outgoing weights: forward passes over text, no labels. */
export interface ActivationNormOptions extends CommonOptions {
  importance?: 'activation-norm';
  /** text of the kind the model will see */
  texts: Iterable<string> | AsyncIterable<string>;
  /** how many of the texts to use; default 1024 */
  maxExamples?: number;
  /** texts done, of how many */
  onProgress?: (done: number, total: number) => void;
}

/** Losses that the full model has by itself. Those that compare with a teacher are 0 for a student that is its teacher. */
export type ImportanceLoss = Extract<
  LossName,
  'mlm' | 'contrastive' | 'classification' | 'regression' | 'ranking'
>;

export const importanceLosses: readonly ImportanceLoss[] = [
  'mlm',
  'contrastive',
  'classification',
  'regression',
  'ranking',
];

/** The paper's importance: mean absolute gradient of a loss with respect to a mask of ones. */
export interface MaskGradientOptions extends CommonOptions {
  importance: 'mask-gradient';
  loss: ImportanceLoss;
  /** default 0.05, of the contrastive loss */
  temperature?: number;
  /** batches with what the loss needs, each a sample of its own: see importanceBatches() */
  batches: Iterable<TrainBatch> | AsyncIterable<TrainBatch>;
  /** examples that the batches hold, for onProgress */
  numExamples?: number;
  /** examples done, of how many */
  onProgress?: (done: number, total: number) => void;
}

export type ImportanceOptions = ActivationNormOptions | MaskGradientOptions;

export interface MeasuredImportance {
  importance: Importance;
  /** for elastic.json */
  facts: ElasticImportance & { examples: number };
  tokens: number;
}

const defaultExamples = 1024;
const defaultSeed = 1;

/** @throws ELASTICLM_ARGUMENT_INVALID before anything is loaded */
export function checkImportanceOptions(options: ImportanceOptions): void {
  const { seed = defaultSeed } = options;
  const importance: unknown = options.importance ?? 'activation-norm';
  if (!Number.isSafeInteger(seed)) throw invalid('seed', 'a whole number', seed);
  if (importance !== 'activation-norm' && importance !== 'mask-gradient') {
    throw invalid('importance', "'activation-norm' or 'mask-gradient'", importance);
  }
  if (options.importance === 'mask-gradient') {
    if (!importanceLosses.includes(options.loss)) {
      throw invalid('loss', `one of ${importanceLosses.join(', ')}`, options.loss);
    }
    return;
  }
  const { maxExamples = defaultExamples } = options;
  if (!Number.isSafeInteger(maxExamples) || maxExamples < 1) {
    throw invalid('maxExamples', 'a whole number of at least 1', maxExamples);
  }
}

export async function measureImportance(
  model: ElasticModel,
  options: ImportanceOptions & Pick<LoadOptions, 'threads'> & { maxLength: number },
): Promise<MeasuredImportance> {
  const measured =
    options.importance === 'mask-gradient'
      ? await byMaskGradients(model, options)
      : await byActivationNorms(model, options);
  const normalizes = options.normalizeLayers ?? options.importance === 'mask-gradient';
  if (!normalizes) return measured;
  return { ...measured, importance: normalizePerLayer(measured.importance, model.config.numLayers) };
}

async function byActivationNorms(
  model: ElasticModel,
  options: ActivationNormOptions & { maxLength: number },
): Promise<MeasuredImportance> {
  const { seed = defaultSeed, normalizeLayers = false, maxLength, onProgress, signal } = options;
  const sample = { size: options.maxExamples ?? defaultExamples, seed, signal };
  const texts = await sampleTexts(options.texts, sample);
  const tokenizer = await Tokenizer.load(model.directory);
  const sums = await calibrate(model, tokenizer, texts, { maxLength, onProgress, signal });
  const { config, checkpoint } = model;
  const method = normalizeLayers ? 'activation-norm-per-layer' : 'activation-norm';
  return {
    importance: activationImportance(sums, await outgoingNorms({ config, files: checkpoint.files })),
    facts: { method, examples: texts.length, seed },
    tokens: sums.numTokens,
  };
}

async function byMaskGradients(
  model: ElasticModel,
  options: MaskGradientOptions & Pick<LoadOptions, 'threads'>,
): Promise<MeasuredImportance> {
  const { loss, batches, numExamples, onProgress, signal } = options;
  const { config, checkpoint } = model;
  await using trainer = await NativeTrainer.load({
    config,
    paths: checkpoint.files,
    teacherPaths: [],
    structures: [wholeOf(model)],
    adapterIdx: Int32Array.of(-1),
    heads: { pooler: false, numLabels: 0, relation: false, mlm: false, numAdapters: 0 },
    seed: 0, // of heads to be drawn: there are none
    isa: resolveIsa(),
    precision: 'f32', // the ranking should not hang on rounding
    recompute: false,
    threads: resolveThreads(options.threads),
  });
  const { examples, tokens, ...importance } = await meanMaskGradients({
    trainer,
    batches,
    objective: objectiveOf(loss, options.temperature, checkpoint.pooling),
    onProgress:
      onProgress === undefined ? undefined : (done) => onProgress(done, Math.max(done, numExamples ?? done)),
    signal,
  });
  const { normalizeLayers = true, seed = defaultSeed } = options;
  const method = normalizeLayers ? 'mask-gradient' : 'mask-gradient-unnormalized';
  return { importance, facts: { method, loss, examples, seed }, tokens };
}

function wholeOf({ config }: ElasticModel): { heads: number[]; neurons: number[] } {
  const each = (size: number): number[] => new Array<number>(config.numLayers).fill(size);
  return { heads: each(config.numHeads), neurons: each(config.intermediateSize) };
}

function objectiveOf(
  loss: ImportanceLoss,
  temperature: number | undefined,
  pooling: Objective['pooling'],
): Objective {
  const pooled = pooling === undefined ? {} : { pooling };
  switch (loss) {
    case 'contrastive':
      return {
        ...pooled,
        contrastive: { weight: 1, ...(temperature === undefined ? {} : { temperature }) },
      };
    case 'ranking':
      return { ranking: { labelWeight: 1 } };
    default:
      return { [loss]: { weight: 1 } };
  }
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject,
    received: describeValue(received),
  });
}
