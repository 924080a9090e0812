/** An ordinary checkpoint in, an elastic one out. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writePermutedCheckpoint } from '../binding/index.js';
import {
  checkElasticFile,
  computeFraction,
  ElasticModel,
  serialiseElasticFile,
  type ElasticFile,
  type LoadOptions,
} from '../model/index.js';
import type { Level, Pooling } from '../types.js';
import { checkImportanceOptions, measureImportance, type ImportanceOptions } from './measure.js';
import { OutputFolder } from './output-folder.js';
import { checkLevels, composeOrders, rankStructures, type Ranking } from './ranking.js';

interface CheckpointOptions extends Pick<LoadOptions, 'threads'> {
  /** folder of the checkpoint to read */
  model: string;
  /** folder of the checkpoint to write: it appears whole or not at all */
  output: string;
  /** preserving levels; default 1, 0.5, 0.25, 0.1. Level 1 is always there. */
  levels?: readonly number[];
  /** replace an output that is already a checkpoint */
  overwrite?: boolean;
  /** longest text in tokens, here and as the new checkpoint's default; default what the checkpoint says */
  maxLength?: number;
  /** how the new checkpoint makes one vector of a text; default what the checkpoint says */
  pooling?: Pooling;
  normalize?: boolean;
}

export type ElasticizeOptions = CheckpointOptions & ImportanceOptions;

export interface ElasticizeResult {
  /** falling, the first is 1 */
  levels: Level[];
  /** texts, pairs or lists, and tokens, that the ranking was measured on */
  examples: number;
  tokens: number;
}

const defaultLevels: readonly number[] = [1, 0.5, 0.25, 0.1];

/**
 * Ranks the heads and neurons of a checkpoint over the whole model and writes it with each layer's heads and neurons in falling
 * importance, so that every level is a prefix of every layer. What they are ranked by: `importance`, by default the label-free
 * 'activation-norm' measured on texts; 'mask-gradient' is the paper's. The output is an ordinary checkpoint too: at level 1
 * its outputs are those of the input up to rounding, for sums run in another order.
 * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_FILE_UNWRITABLE, ELASTICLM_STRUCTURE_INVALID, ELASTICLM_CALL_ABORTED,
 * ELASTICLM_CONFIG_INVALID (a loss whose head the checkpoint lacks) and what ElasticModel.load throws
 */
export async function elasticize(options: ElasticizeOptions): Promise<ElasticizeResult> {
  const levels = checkLevels(options.levels ?? defaultLevels);
  checkImportanceOptions(options);
  const folder = await OutputFolder.create(options.output, options.overwrite ?? false);
  try {
    const { threads } = options;
    await using model = await ElasticModel.load(options.model, {
      backend: 'cpu', // the one that measures activations
      ...(threads === undefined ? {} : { threads }),
    });
    const { config } = model;
    const maxLength = options.maxLength ?? model.checkpoint.maxLength;
    const { importance, facts, tokens } = await measureImportance(model, { ...options, maxLength });
    const ranking = rankStructures(importance, config.numLayers, levels);
    await folder.copyCompanions(model.directory);
    const source = { config, files: model.checkpoint.files };
    await writePermutedCheckpoint(source, ranking.permutation, join(folder.path, 'model.safetensors'));
    const pooling = options.pooling ?? model.checkpoint.pooling;
    const normalize = options.normalize ?? model.checkpoint.normalize;
    await writeElasticFile(folder, model, {
      levels: ranking.levels,
      importance: facts,
      permutation: permutationOf(model, ranking),
      maxLength,
      ...(pooling === undefined ? {} : { pooling }),
      ...(normalize === undefined ? {} : { normalize }),
    });
    await folder.commit();
    return {
      levels: ranking.levels.map((level) => ({ ...level, computeFraction: computeFraction(config, level) })),
      examples: facts.examples,
      tokens,
    };
  } finally {
    await folder.abandon();
  }
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
