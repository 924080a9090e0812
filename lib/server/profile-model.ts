/** What a model's levels cost on this machine and are worth: what a schedule knows of it. */
import { packBatch } from '../batch/index.js';
import type { ElasticModel } from '../model/index.js';
import { calibrate, type LevelQuality, type Profile } from '../schedule/index.js';

export interface ProfileOptions {
  /** time to measure for, in ms; default 2000 */
  budgetMs?: number | undefined;
  /** where it is measured, for people; default: instruction set, precision and threads */
  machine?: string | undefined;
}

/**
 * Measures forwards of a few shapes at every level, and reads the levels' quality from the checkpoint.
 * @throws what ElasticModel.forward throws
 */
export async function profileModel(model: ElasticModel, options: ProfileOptions = {}): Promise<Profile> {
  const { isa, precision, threads } = model.info();
  const { budgetMs, machine = `${isa}, ${precision}, ${threads} threads` } = options;
  const coefficients = await calibrate((levelIdx, lengths) => measure(model, levelIdx, lengths), {
    numLevels: model.levels.length,
    maxLength: Math.min(model.checkpoint.maxLength, model.config.maxPositionEmbeddings),
    budgetMs,
  });
  return {
    format: 'elasticlm-profile',
    version: 1,
    machine,
    batchMs: coefficients.batchMs,
    levels: levelQualities(model).map((level, idx) => ({ ...level, ...coefficients.levels[idx]! })),
  };
}

/**
 * What a request is worth at each level: the mean, over the measures in the checkpoint's `elastic.json`, of what it keeps of the
 * largest level's. A checkpoint without measures has the square root of each level's share of the computation, a curve as
 * concave as those of trained checkpoints: it only says which way to trade, not how much is lost.
 */
export function levelQualities(model: ElasticModel): LevelQuality[] {
  const measures = model.checkpoint.elastic?.quality ?? [];
  const qualities = model.levels.map(({ level, computeFraction }) => {
    const shares = measures.flatMap(({ byLevel }) => {
      const [own, whole] = [byLevel[String(level)], byLevel[String(model.levels[0]!.level)]];
      return own === undefined || whole === undefined || !(whole > 0) || !(own > 0) ? [] : [own / whole];
    });
    if (shares.length === 0) return Math.sqrt(computeFraction);
    return shares.reduce((sum, share) => sum + share, 0) / shares.length;
  });
  // A small level that measured better by chance is worth no more than a larger one.
  let most = 1;
  return model.levels.map(({ level }, idx) => {
    most = Math.min(most, qualities[idx]!);
    return { level, quality: most };
  });
}

async function measure(model: ElasticModel, levelIdx: number, lengths: readonly number[]): Promise<number> {
  const batch = packBatch(
    lengths.map((length) => ({ inputIds: new Int32Array(length), tokenTypeIds: new Int32Array(length) })),
  );
  const beginMs = performance.now();
  await model.forward(batch, { output: 'pooled', level: model.levels[levelIdx]!.level });
  return performance.now() - beginMs;
}
