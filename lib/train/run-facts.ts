/** What decides a run's result, as words: a state is resumed only by a run with the same ones. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ElasticError } from '../errors.js';
import { Slices } from '../slices.js';
import type { Subject } from './subject.js';
import type { TrainSettings } from './options.js';
import type { DescribedData, TrainData } from './types.js';

/** By name, e.g. `learningRate`. */
export type RunFacts = Readonly<Record<string, string>>;

/** Resolved from options and machine. */
export interface ResolvedFacts {
  steps: number;
  warmupSteps: number;
  precision: string;
}

export async function runFacts(
  settings: TrainSettings,
  subject: Subject,
  resolved: ResolvedFacts,
): Promise<RunFacts> {
  const { student, teacher, levels, levelWeights, levelShares, heads } = subject;
  const facts: Record<string, unknown> = {
    student: await digestFiles(student.files),
    config: student.config,
    teacher: teacher === undefined ? 'none' : await digestFiles(teacher.files),
    data: await digestData(settings.data),
    objective: settings.objective,
    levels,
    levelWeights,
    levelShares,
    levelSampling: settings.levelSampling,
    heads,
    ...resolved,
    tokensPerMicroBatch: settings.tokensPerMicroBatch,
    microBatchesPerStep: settings.microBatchesPerStep,
    learningRate: settings.learningRate,
    weightDecay: settings.weightDecay,
    clipNorm: settings.clipNorm,
    betas: settings.betas,
    epsilon: settings.epsilon,
    mode: settings.mode,
    recompute: settings.recompute,
    seed: settings.seed,
    dtype: settings.dtype,
    evaluateEverySteps: settings.evaluateEverySteps ?? 'never',
    best: settings.best ?? 'none',
    ...settings.facts,
  };
  return Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, canonical(value)]));
}

/** @throws ELASTICLM_TRAINING_STATE_MISMATCH naming the first fact that differs */
export function checkSameFacts(stored: RunFacts, now: RunFacts, path: string): void {
  for (const name of new Set([...Object.keys(now), ...Object.keys(stored)])) {
    const [before, after] = [stored[name], now[name]];
    if (before === after) continue;
    throw ElasticError.of('ELASTICLM_TRAINING_STATE_MISMATCH', {
      expected: `${name} ${shorten(before)}, as the run began,`,
      subject: path,
      received: shorten(after),
      remedy: 'Resume with the options it began with, or begin a new run in another output folder',
    });
  }
}

function shorten(value = 'nothing'): string {
  return value.length > 100 ? `${value.slice(0, 100)}…` : value;
}

/** JSON with the keys of objects in order: the order in which options are written does not matter. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

async function digestFiles(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths) {
    try {
      for await (const part of createReadStream(path)) hash.update(part as Buffer);
    } catch (cause) {
      throw ElasticError.of(
        'ELASTICLM_FILE_UNREADABLE',
        { expected: 'a file that can be read', subject: path, received: (cause as Error).message },
        { cause },
      );
    }
  }
  return hash.digest('hex').slice(0, 16);
}

/** The data's own fingerprint, else its size and the lengths of its examples. */
async function digestData(data: TrainData): Promise<string> {
  const described = data as Partial<DescribedData>;
  if (described.fingerprint !== undefined) return described.fingerprint();
  const hash = createHash('sha256');
  const slices = new Slices();
  for (let begin = 0; begin < data.size; begin += lengthsPerTurn) {
    const count = Math.min(lengthsPerTurn, data.size - begin);
    hash.update(Int32Array.from({ length: count }, (_, idx) => data.length(begin + idx)));
    if (slices.isOver) await slices.next();
  }
  return hash.digest('hex').slice(0, 16);
}

/** Hashed at a time. */
const lengthsPerTurn = 1024;
