/** What a machine's levels cost and are worth, as a file: `docs/simulation.md` shows one. */
import { readFile } from 'node:fs/promises';
import { describeValue, ElasticError } from '../../errors.js';
import type { CostCoefficients, LevelCost } from '../cost-model.js';
import type { LevelQuality } from '../types.js';
import { fileError } from './trace-rows.js';

export interface Profile {
  format: 'elasticlm-profile';
  version: 1;
  /** where it was measured, for people */
  machine: string;
  /** of each batch, whatever is in it */
  batchMs: number;
  /** falling by level */
  levels: (LevelQuality & LevelCost)[];
}

export const profileFormat = 'elasticlm-profile';
const profileVersion = 1;
const costNames = ['perSequenceMs', 'perTokenMs', 'perTokenSquareMs'] as const;

/** @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID */
export async function readProfile(path: string): Promise<Profile> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw fileError(path, cause);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(path, 'JSON', (cause as Error).message, cause);
  }
  return checkProfile(value, path);
}

/** @param subject where it comes from, for errors @throws ELASTICLM_DATA_INVALID */
export function checkProfile(value: unknown, subject: string): Profile {
  const fields = objectOf(value, subject);
  if (fields['format'] !== profileFormat || fields['version'] !== profileVersion) {
    const received = `format ${describeValue(fields['format'])}, version ${describeValue(fields['version'])}`;
    throw invalid(subject, `format "${profileFormat}", version ${profileVersion}`, received);
  }
  const { machine, batchMs, levels } = fields;
  if (typeof machine !== 'string') throw invalid(`machine in ${subject}`, 'a string', describeValue(machine));
  if (!isCost(batchMs)) throw invalid(`batchMs in ${subject}`, 'ms of at least 0', describeValue(batchMs));
  if (!Array.isArray(levels) || levels.length === 0) {
    throw invalid(`levels in ${subject}`, 'at least one level', describeValue(levels));
  }
  const checked = levels.map((level, idx) => checkLevel(level, `levels[${idx}] in ${subject}`));
  for (const [idx, { level, quality }] of checked.entries()) {
    const before = checked[idx - 1];
    if (before === undefined || (before.level > level && before.quality >= quality)) continue;
    throw invalid(
      `levels[${idx}] in ${subject}`,
      'levels that fall, with qualities that do not rise',
      `level ${level}, quality ${quality} after level ${before.level}, quality ${before.quality}`,
    );
  }
  return { format: profileFormat, version: profileVersion, machine, batchMs, levels: checked };
}

/** The cost model's part of a profile. */
export function coefficientsOf({ batchMs, levels }: Profile): CostCoefficients {
  return {
    batchMs,
    levels: levels.map(({ perSequenceMs, perTokenMs, perTokenSquareMs }) => ({
      perSequenceMs,
      perTokenMs,
      perTokenSquareMs,
    })),
  };
}

function checkLevel(value: unknown, subject: string): LevelQuality & LevelCost {
  const fields = objectOf(value, subject);
  const { level, quality } = fields;
  if (!isShare(level)) throw invalid(`level of ${subject}`, 'a level in (0, 1]', describeValue(level));
  if (!isShare(quality)) throw invalid(`quality of ${subject}`, 'a number in (0, 1]', describeValue(quality));
  const cost: LevelCost = { perSequenceMs: 0, perTokenMs: 0, perTokenSquareMs: 0 };
  for (const name of costNames) {
    const ms = fields[name];
    if (!isCost(ms)) throw invalid(`${name} of ${subject}`, 'ms of at least 0', describeValue(ms));
    cost[name] = ms;
  }
  if (costNames.some((name) => cost[name] > 0)) return { level, quality, ...cost };
  throw invalid(subject, `one of ${costNames.join(', ')} above 0`, 'only zeros');
}

function objectOf(value: unknown, subject: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw invalid(subject, 'a JSON object', describeValue(value));
}

function isCost(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < Infinity;
}

function isShare(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= 1;
}

function invalid(subject: string, expected: string, received: string, cause?: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_DATA_INVALID', { expected, subject, received }, { cause });
}
