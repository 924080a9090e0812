import { InvalidArgumentError, Option } from 'commander';
import type { Precision } from '../index.js';

/** What `--level` may say: every level of the checkpoint, or some of them. */
export type LevelChoice = 'all' | number[];

function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError(`expected a number, received "${text}".`);
  return value;
}

export function parseCount(text: string): number {
  const value = parseNumber(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new InvalidArgumentError(`expected a whole number of at least 1, received "${text}".`);
  }
  return value;
}

export function parseLevel(text: string): number {
  const value = parseNumber(text);
  if (value <= 0 || value > 1) throw new InvalidArgumentError(`expected a level in (0, 1], received "${text}".`);
  return value;
}

export function parseLevels(text: string): number[] {
  return text.split(',').map(parseLevel);
}

export function parseLevelChoice(text: string): LevelChoice {
  return text === 'all' ? 'all' : parseLevels(text);
}

/** `1x32`: 1 sequence of 32 tokens; `ragged32`: 32 sequences of 8 to 128 tokens. */
export interface Shape {
  name: string;
  lengths: number[];
}

/** The shortest and longest sequence of a ragged batch, evenly spaced between. */
const raggedShortest = 8;
const raggedLongest = 128;

export function parseShape(text: string): Shape {
  const fixed = /^(\d+)x(\d+)$/.exec(text);
  if (fixed !== null) {
    const [sequences, length] = [parseCount(fixed[1]!), parseCount(fixed[2]!)];
    return { name: text, lengths: new Array<number>(sequences).fill(length) };
  }
  const ragged = /^ragged(\d+)$/.exec(text);
  if (ragged === null) throw new InvalidArgumentError(`expected a shape such as 1x32 or ragged32, received "${text}".`);
  const count = parseCount(ragged[1]!);
  const step = count === 1 ? 0 : (raggedLongest - raggedShortest) / (count - 1);
  return { name: text, lengths: Array.from({ length: count }, (_, i) => Math.round(raggedShortest + i * step)) };
}

export function parseShapes(text: string): Shape[] {
  return text.split(',').map(parseShape);
}

export const jsonOption = () => new Option('--json', 'one JSON object per result line on stdout, nothing else there');
export const threadsOption = () =>
  new Option('--threads <n>', 'threads that compute (default: the processors this process may use)').argParser(parseCount);
export const maxLengthOption = () =>
  new Option('--max-length <tokens>', 'longest text in tokens (default: what the checkpoint says)').argParser(parseCount);
export const levelOption = () =>
  new Option('--level <p>', 'preserving level in (0, 1]').argParser(parseLevel).default(1);
export const levelChoiceOption = (fallback: LevelChoice) =>
  new Option('--level <p,…|all>', 'preserving levels, or all that the checkpoint holds')
    .argParser(parseLevelChoice)
    .default(fallback, fallback === 'all' ? 'all' : fallback.join(','));

/** Options that several commands share, as commander hands them over. */
export interface CommonOptions {
  json?: boolean;
  threads?: number;
  maxLength?: number;
}

export interface LoadFlags {
  threads?: number;
  precision?: Precision;
}

/** Only what the user gave: absent flags stay absent, so that the library's own defaults hold. */
export function given<T extends object, K extends keyof T>(options: T, ...names: K[]): { [P in K]?: NonNullable<T[P]> } {
  const result: { [P in K]?: NonNullable<T[P]> } = {};
  for (const name of names) {
    const value = options[name];
    if (value !== undefined && value !== null) result[name] = value as NonNullable<T[K]>;
  }
  return result;
}

/** The levels that a choice means for a checkpoint, falling. */
export function resolveLevels(choice: LevelChoice, available: readonly { level: number }[]): number[] {
  return choice === 'all' ? available.map((entry) => entry.level) : [...choice];
}
