/** A tiny elastic checkpoint and what training it takes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NativeTrainerSpec } from '../../lib/binding/index.js';
import type { TrainOptions } from '../../lib/train/index.js';
import {
  configOf,
  evenLevels,
  writeTinyCheckpoint,
  type TinyCheckpoint,
  type WrittenCheckpoint,
} from './checkpoint.js';
import { RandomData } from './train-data.js';

export const tinyLevels = [1, 0.5, 0.25];

/** A folder that is removed afterwards. */
export async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'elasticlm-train-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function writeTinyStudent(directory: string, options: TinyCheckpoint = {}): WrittenCheckpoint {
  const elastic = {
    ...evenLevels(configOf(options), tinyLevels.slice(1)),
    pooling: 'mean',
    normalize: true,
  } as const;
  return writeTinyCheckpoint(directory, { elastic, ...options });
}

export function trainerSpec(
  student: WrittenCheckpoint,
  changes: Partial<NativeTrainerSpec> = {},
): NativeTrainerSpec {
  const { config, files } = student;
  return {
    config,
    paths: files,
    teacherPaths: files,
    structures: evenLevels(config, tinyLevels.slice(1)).levels,
    adapterIdx: new Int32Array(),
    heads: { pooler: false, numLabels: 0, relation: false, mlm: false, numAdapters: 0 },
    seed: 1,
    isa: '',
    precision: 'f32',
    recompute: false,
    threads: 2,
    ...changes,
  };
}

/** Options of a short distillation of the checkpoint in `folder`/student, by itself as the teacher. */
export function tinyDistillation(folder: string, changes: Partial<TrainOptions> = {}): TrainOptions {
  const options: TrainOptions = {
    student: join(folder, 'student'),
    teacher: join(folder, 'student'),
    output: join(folder, 'run'),
    data: new RandomData({ config: configOf(), size: 200 }),
    objective: { embedding: { cosineWeight: 1, similarityWeight: 0.5 } },
    tokensPerMicroBatch: 128,
    learningRate: 1e-3,
    threads: 2,
    ...changes,
  };
  return options.epochs === undefined ? { steps: 30, ...options } : options;
}
