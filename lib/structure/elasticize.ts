/** An ordinary checkpoint in, an elastic one out. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { outgoingNorms, writePermutedCheckpoint } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import {
  checkElasticFile,
  computeFraction,
  ElasticModel,
  serialiseElasticFile,
  type ElasticFile,
  type LoadOptions,
} from '../model/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import type { Level, Pooling } from '../types.js';
import { calibrate } from './calibrate.js';
import { activationImportance, normalizePerLayer } from './importance.js';
import { OutputFolder } from './output-folder.js';
import { checkLevels, composeOrders, rankStructures, type Ranking } from './ranking.js';
import { sampleTexts } from './sample.js';

export interface ElasticizeOptions extends Pick<LoadOptions, 'threads'> {
  /** folder of the checkpoint to read */
  model: string;
  /** folder of the checkpoint to write: it appears whole or not at all */
  output: string;
  /** text of the kind the model will see; no labels are needed */
  texts: Iterable<string> | AsyncIterable<string>;
  /** preserving levels; default 1, 0.5, 0.25, 0.1. Level 1 is always there. */
  levels?: readonly number[];
  /**
   * Divide the importance of each layer's heads, and of its neurons, by its L2 norm before the ranking over the whole model
   * (as the paper does with gradients); default false, which keeps more quality with this importance: see
   * docs/design/0003-label-free-ranking-without-layer-norm.md
   */
  normalizeLayers?: boolean;
  /** how many of the texts to use; default 1024 */
  maxExamples?: number;
  /** picks them; default 1. The same texts, seed and numbers give the same checkpoint. */
  seed?: number;
  /** replace an output that is already a checkpoint */
  overwrite?: boolean;
  /** longest text in tokens, here and as the new checkpoint's default; default what the checkpoint says */
  maxLength?: number;
  /** how the new checkpoint makes one vector of a text; default what the checkpoint says */
  pooling?: Pooling;
  normalize?: boolean;
  /** during calibration: texts done, of how many */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

export interface ElasticizeResult {
  /** falling, the first is 1 */
  levels: Level[];
  /** texts and tokens that the ranking was measured on */
  examples: number;
  tokens: number;
}

const defaultLevels: readonly number[] = [1, 0.5, 0.25, 0.1];
const defaultExamples = 1024;
const defaultSeed = 1;

/**
 * Ranks the heads and neurons of a checkpoint on calibration text (label-free: mean activation norm times norm of the
 * outgoing weights, ranked over the whole model) and writes it with each layer's heads and neurons in falling importance, so that every level is a prefix of every layer. The output is an ordinary checkpoint too: at level 1
 * its outputs are those of the input up to rounding, for sums run in another order.
 * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_FILE_UNWRITABLE, ELASTICLM_STRUCTURE_INVALID, ELASTICLM_CALL_ABORTED and
 * what ElasticModel.load throws
 */
export async function elasticize(options: ElasticizeOptions): Promise<ElasticizeResult> {
  const levels = checkLevels(options.levels ?? defaultLevels);
  const sample = {
    size: checkCount(options.maxExamples ?? defaultExamples, 'maxExamples'),
    seed: checkSeed(options.seed ?? defaultSeed),
    signal: options.signal,
  };
  const folder = await OutputFolder.create(options.output, options.overwrite ?? false);
  try {
    const { threads } = options;
    await using model = await ElasticModel.load(options.model, {
      backend: 'cpu', // the one that measures activations
      ...(threads === undefined ? {} : { threads }),
    });
    const maxLength = options.maxLength ?? model.checkpoint.maxLength;
    const texts = await sampleTexts(options.texts, sample);
    const sums = await calibrate(model, await Tokenizer.load(model.directory), texts, {
      maxLength,
      onProgress: options.onProgress,
      signal: options.signal,
    });
    const { config } = model;
    const source = { config, files: model.checkpoint.files };
    const importance = activationImportance(sums, await outgoingNorms(source));
    const normalizeLayers = options.normalizeLayers ?? false;
    const comparable = normalizeLayers ? normalizePerLayer(importance, config.numLayers) : importance;
    const ranking = rankStructures(comparable, config.numLayers, levels);
    await folder.copyCompanions(model.directory);
    await writePermutedCheckpoint(source, ranking.permutation, join(folder.path, 'model.safetensors'));
    const pooling = options.pooling ?? model.checkpoint.pooling;
    const normalize = options.normalize ?? model.checkpoint.normalize;
    await writeElasticFile(folder, model, {
      levels: ranking.levels,
      importance: { method: methodName(normalizeLayers), examples: texts.length, seed: sample.seed },
      permutation: permutationOf(model, ranking),
      maxLength,
      ...(pooling === undefined ? {} : { pooling }),
      ...(normalize === undefined ? {} : { normalize }),
    });
    await folder.commit();
    return {
      levels: ranking.levels.map((level) => ({ ...level, computeFraction: computeFraction(config, level) })),
      examples: texts.length,
      tokens: sums.numTokens,
    };
  } finally {
    await folder.abandon();
  }
}

function methodName(normalizeLayers: boolean): string {
  return normalizeLayers ? 'activation-norm-per-layer' : 'activation-norm';
}

/** Old places as they were before any elasticising: the input may be the output of another one. */
function permutationOf(model: ElasticModel, { permutation }: Ranking): Ranking['permutation'] {
  const before = model.checkpoint.elastic?.permutation;
  if (before === undefined) return permutation;
  return {
    heads: composeOrders(before.heads, permutation.heads),
    neurons: composeOrders(before.neurons, permutation.neurons),
  };
}

async function writeElasticFile(folder: OutputFolder, model: ElasticModel, file: ElasticFile): Promise<void> {
  const path = join(folder.path, 'elastic.json');
  checkElasticFile(file, path, model.config);
  await writeFile(path, serialiseElasticFile(file));
}

function checkCount(value: number, subject: string): number {
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw invalid(subject, 'a whole number of at least 1', value);
}

function checkSeed(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw invalid('seed', 'a whole number', value);
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject,
    received: describeValue(received),
  });
}
