/** What a training is asked to do: checked, and completed with defaults. */
import { describeValue, ElasticError } from '../errors.js';
import type { StepMode, StoredDtype, TrainPrecision } from '../binding/index.js';
import type { LoadOptions } from '../model/index.js';
import type { Pooling } from '../types.js';
import type { TrainEvent } from './events.js';
import type { LevelSampling } from './schedule.js';
import type { Objective, TrainData } from './types.js';

/** Numbers by metric and level, the level as JSON prints it ("1", "0.5"). */
export type Metrics = Readonly<Record<string, Readonly<Record<string, number>>>>;

export interface EarlyStop {
  /** a name that `evaluate` gives; its mean over the levels decides */
  metric: string;
  /** evaluations without a new best value before training ends; absent: it goes on to the last step */
  patience?: number;
  /** default 'max' */
  goal?: 'max' | 'min';
}

export interface TrainOptions extends Pick<LoadOptions, 'threads'> {
  /** folder of the checkpoint to train, elastic or ordinary (one level then, 1) */
  student: string;
  /** folder of a checkpoint with the same config, for the terms that compare with a teacher */
  teacher?: string;
  /**
   * Folder of the run: `log.jsonl`, `state.safetensors` and, once it has finished, the checkpoint `model/`. A run that was
   * interrupted goes on from its state.
   */
  output: string;
  data: TrainData;
  objective: Objective;
  /** which of the student's levels to train; default all */
  levels?: readonly number[];
  /** relative weights by level as JSON prints it; default 1 each. At every step they are divided by their sum. */
  levelWeights?: Readonly<Record<string, number>>;
  /** default 'all' */
  levelSampling?: LevelSampling;
  /**
   * The part of every micro-batch that a level sees, by level as JSON prints it, above 0; default 1 each. A large level costs
   * what many small ones do and, made from the teacher, has less to learn. Not for losses over pairs or lists.
   */
  levelShares?: Readonly<Record<string, number>>;
  /**
   * Give every level below 1 a linear layer of its own over the pooled vector; default false: levels keep those that they have.
   * For losses over embeddings.
   */
  adapters?: boolean;
  /** names of the classes of a classifier to train; where the student has one of another number, it is drawn anew */
  labels?: readonly string[];
  /** updates; give these or `epochs` */
  steps?: number;
  /** passes over the data, also parts of one */
  epochs?: number;
  /** default 2048 */
  tokensPerMicroBatch?: number;
  /** micro-batches whose gradients are added up for one update; default 1 */
  microBatchesPerStep?: number;
  /** of AdamW, at its peak */
  learningRate: number;
  /** updates over which it rises; default 6% of all. It falls linearly to 0 afterwards. */
  warmupSteps?: number;
  /** default 0.01, of matrices alone */
  weightDecay?: number;
  /** gradients of a larger global norm are scaled down to it; default 1; 0: not */
  clipNorm?: number;
  /** default [0.9, 0.999] */
  betas?: readonly [number, number];
  /** default 1e-8 */
  epsilon?: number;
  /** default 'mixed', the faster one; the gradients differ by rounding alone */
  mode?: StepMode;
  /** a quarter of the memory for activations, for a third more time; default false */
  recompute?: boolean;
  /** of the products with linear layers; 'auto', the default: bf16 where the processor multiplies it, else f32 */
  precision?: 'auto' | TrainPrecision;
  /** of shuffling, level sampling, masks and new heads; default 1 */
  seed?: number;
  /** write the state after so many updates; default 500 */
  checkpointEverySteps?: number;
  /** call `evaluate` after so many updates, and after the last; default only after the last */
  evaluateEverySteps?: number;
  /**
   * Measures the checkpoint in a folder, which is removed afterwards. Names are `task/metric`, as in elastic.json's quality
   * table, which keeps the numbers of the finished model.
   */
  evaluate?: (folder: string) => Promise<Metrics>;
  /** which evaluated weights become the model, and when to stop early; absent: the last ones do */
  best?: EarlyStop;
  /** of the finished model's weights; default 'f32' */
  dtype?: StoredDtype;
  /** of the finished model; default what the student says */
  pooling?: Pooling;
  normalize?: boolean;
  maxLength?: number;
  /** stop after this time with the state written; the same call goes on later */
  maxMinutes?: number;
  /** default true; false: refuse an output folder that holds a run */
  resume?: boolean;
  /** what else a state must agree with to be resumed, e.g. hashes of the files that `data` reads */
  facts?: Readonly<Record<string, string>>;
  onEvent?: (event: TrainEvent) => void;
  /** ends the run with ELASTICLM_CALL_ABORTED, its state written */
  signal?: AbortSignal;
}

/** Options that have a default. */
type Completed =
  | 'levelSampling'
  | 'adapters'
  | 'tokensPerMicroBatch'
  | 'microBatchesPerStep'
  | 'weightDecay'
  | 'clipNorm'
  | 'betas'
  | 'epsilon'
  | 'mode'
  | 'recompute'
  | 'precision'
  | 'seed'
  | 'checkpointEverySteps'
  | 'dtype'
  | 'resume';

/** Options with their defaults; what has none stays absent. */
export type TrainSettings = Omit<TrainOptions, Completed> & Required<Pick<TrainOptions, Completed>>;

/** @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_DATA_INVALID for data without examples */
export function checkOptions(options: TrainOptions): TrainSettings {
  const settings: TrainSettings = {
    ...options,
    levelSampling: options.levelSampling ?? 'all',
    adapters: options.adapters ?? false,
    tokensPerMicroBatch: options.tokensPerMicroBatch ?? 2048,
    microBatchesPerStep: options.microBatchesPerStep ?? 1,
    weightDecay: options.weightDecay ?? 0.01,
    clipNorm: options.clipNorm ?? 1,
    betas: options.betas ?? [0.9, 0.999],
    epsilon: options.epsilon ?? 1e-8,
    mode: options.mode ?? 'mixed',
    recompute: options.recompute ?? false,
    precision: options.precision ?? 'auto',
    seed: options.seed ?? 1,
    checkpointEverySteps: options.checkpointEverySteps ?? 500,
    dtype: options.dtype ?? 'f32',
    resume: options.resume ?? true,
  };
  checkCounts(settings);
  checkNumbers(settings);
  checkChoices(settings);
  checkTerms(settings);
  checkLength(settings);
  checkEvaluation(settings);
  if (settings.data.size >= 1) return settings;
  throw ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected: 'at least one example',
    subject: 'data',
    received: 'none',
    remedy: 'Is the file empty, or does a filter leave nothing?',
  });
}

function checkCounts(settings: TrainSettings): void {
  const atLeastOne = [
    'tokensPerMicroBatch',
    'microBatchesPerStep',
    'checkpointEverySteps',
    'steps',
    'evaluateEverySteps',
  ] as const;
  for (const name of atLeastOne) {
    const value = settings[name];
    if (value === undefined || (Number.isSafeInteger(value) && value >= 1)) continue;
    throw invalid(name, 'a whole number of at least 1', value);
  }
  for (const name of ['warmupSteps', 'seed'] as const) {
    const value = settings[name];
    if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) continue;
    throw invalid(name, 'a whole number of at least 0', value);
  }
}

function checkNumbers(settings: TrainSettings): void {
  const { learningRate, epochs, epsilon, maxMinutes, weightDecay, clipNorm, betas } = settings;
  checkRange('learningRate', learningRate, { above: 0, upTo: 1 });
  if (epochs !== undefined) checkRange('epochs', epochs, { above: 0, upTo: 1e6 });
  checkRange('epsilon', epsilon, { above: 0, upTo: 1 });
  if (maxMinutes !== undefined) checkRange('maxMinutes', maxMinutes, { above: 0 });
  checkRange('weightDecay', weightDecay, { from: 0, upTo: 1 });
  checkRange('clipNorm', clipNorm, { from: 0 });
  for (const beta of betas) checkRange('betas', beta, { from: 0, below: 1 });
}

interface NumberRange {
  above?: number;
  from?: number;
  upTo?: number;
  below?: number;
}

function checkRange(name: string, value: unknown, range: NumberRange): void {
  const { above = -Infinity, from = -Infinity, upTo = Infinity, below = Infinity } = range;
  const number = typeof value === 'number' ? value : Number.NaN;
  if (number > above && number >= from && number <= upTo && number < below) return;
  const words = { above: 'above', from: 'from', upTo: 'up to', below: 'below' } as const;
  const bounds = Object.entries(range).map(([bound, at]) => `${words[bound as keyof NumberRange]} ${at}`);
  throw invalid(name, `a number ${bounds.join(' ')}`, value);
}

function checkChoices(settings: TrainSettings): void {
  const choices = {
    mode: ['traverse', 'mixed'],
    precision: ['auto', 'f32', 'bf16'],
    dtype: ['f32', 'f16'],
  } as const;
  for (const [name, known] of Object.entries(choices)) {
    const value: unknown = settings[name as keyof typeof choices];
    if ((known as readonly unknown[]).includes(value)) continue;
    throw invalid(name, known.map((choice) => `'${choice}'`).join(' or '), value);
  }
  const { levelSampling } = settings;
  if (levelSampling !== 'all' && !isCount(levelSampling.sandwich)) {
    throw invalid('levelSampling', "'all' or { sandwich: a whole number }", levelSampling);
  }
}

export function hasEmbeddings({ embedding, contrastive }: Objective): boolean {
  return embedding !== undefined || contrastive !== undefined;
}

/** What goes with some losses alone. */
function checkTerms({ objective, adapters, levelShares }: TrainSettings): void {
  if (adapters && !hasEmbeddings(objective)) {
    throw invalid('adapters', 'an objective over embeddings, where adapters are trained', adapters);
  }
  const hasGroups = objective.contrastive !== undefined || objective.ranking !== undefined;
  if (levelShares !== undefined && hasGroups) {
    throw invalid(
      'levelShares',
      'an objective without pairs and lists, which a share would cut',
      levelShares,
    );
  }
}

function checkLength({ steps, epochs }: TrainSettings): void {
  if ((steps === undefined) !== (epochs === undefined)) return;
  throw invalid('steps', 'either steps or epochs', steps === undefined ? 'neither' : 'both');
}

function checkEvaluation({ evaluate, evaluateEverySteps, best }: TrainSettings): void {
  if (evaluate === undefined && (evaluateEverySteps !== undefined || best !== undefined)) {
    throw invalid('evaluate', 'a function, where evaluateEverySteps or best is given', evaluate);
  }
  if (best === undefined) return;
  const { metric, patience, goal } = best;
  if (typeof metric !== 'string') throw invalid('best.metric', 'the name of a metric', metric);
  if (patience !== undefined && !(isCount(patience) && patience >= 1)) {
    throw invalid('best.patience', 'a whole number of at least 1', patience);
  }
  if (goal !== undefined && !['max', 'min'].includes(goal))
    throw invalid('best.goal', "'max' or 'min'", goal);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

export function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `options.${subject}`,
    received: describeValue(received),
  });
}
