import { InvalidArgumentError, Option, type Command } from 'commander';
import { ElasticError, type Backend, type LevelChoice, type LoadOptions, type Precision } from '../index.js';

function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value))
    throw new InvalidArgumentError(`expected a number, received "${text}".`);
  return value;
}

export function parseWhole(text: string): number {
  const value = parseNumber(text);
  if (Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError(`expected a whole number, received "${text}".`);
}

export function parseCount(text: string): number {
  const value = parseWhole(text);
  if (value >= 1) return value;
  throw new InvalidArgumentError(`expected a whole number of at least 1, received "${text}".`);
}

export function parsePosition(text: string): number {
  const value = parseWhole(text);
  if (value >= 0) return value;
  throw new InvalidArgumentError(`expected a whole number of at least 0, received "${text}".`);
}

export function parsePositive(text: string): number {
  const value = parseNumber(text);
  if (value > 0) return value;
  throw new InvalidArgumentError(`expected a number above 0, received "${text}".`);
}

export function parseLevel(text: string): number {
  const value = parseNumber(text);
  if (value <= 0 || value > 1)
    throw new InvalidArgumentError(`expected a level in (0, 1], received "${text}".`);
  return value;
}

export function parseLevels(text: string): number[] {
  return text.split(',').map(parseLevel);
}

const backends: readonly Backend[] = ['auto', 'cpu', 'cuda'];
const precisions: readonly Precision[] = ['auto', 'f32', 'bf16', 'i8', 'f16'];

export function parsePrecisions(text: string): Precision[] {
  return text.split(',').map((name) => {
    const precision = precisions.find((known) => known === name);
    if (precision !== undefined) return precision;
    throw new InvalidArgumentError(`expected some of ${precisions.join(', ')}, received "${name}".`);
  });
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
  if (ragged === null)
    throw new InvalidArgumentError(`expected a shape such as 1x32 or ragged32, received "${text}".`);
  const count = parseCount(ragged[1]!);
  const step = count === 1 ? 0 : (raggedLongest - raggedShortest) / (count - 1);
  return {
    name: text,
    lengths: Array.from({ length: count }, (_, i) => Math.round(raggedShortest + i * step)),
  };
}

export function parseShapes(text: string): Shape[] {
  return text.split(',').map(parseShape);
}

export const jsonOption = () =>
  new Option('--json', 'one JSON object per result line on stdout, nothing else there');
export const threadsOption = () =>
  new Option(
    '--threads <n>',
    'threads that compute (default: the processors this process may use); on a GPU forwards in flight (default: 2)',
  ).argParser(parseCount);
export const backendOption = () =>
  new Option('--backend <name>', 'where to run (default: auto, a GPU where one can be used)').choices(
    backends,
  );
export const precisionOption = () =>
  new Option(
    '--precision <name>',
    'what to compute in: f32, bf16 or i8 on the cpu, bf16, f16 or f32 on a GPU (default: auto, f32 on the cpu, bf16 on a GPU)',
  ).choices(precisions);
export const deviceOption = () =>
  new Option('--device <idx>', 'which GPU (default: 0)').argParser(parsePosition);
export const maxLengthOption = () =>
  new Option('--max-length <tokens>', 'longest text in tokens (default: what the checkpoint says)').argParser(
    parseCount,
  );
export const levelOption = () =>
  new Option('--level <p>', 'preserving level in (0, 1]').argParser(parseLevel).default(1);
export const levelChoiceOption = () =>
  new Option('--level <p,…|all>', 'preserving levels, or all that the checkpoint holds')
    .argParser(parseLevelChoice)
    .default('all');

/** Options that several commands share, as commander hands them over. */
export interface CommonOptions {
  json?: boolean;
  threads?: number;
  maxLength?: number;
}

/** Those of a command that loads a model. */
export interface ModelOptions extends CommonOptions {
  backend?: Backend;
  precision?: Precision;
  device?: number;
}

/** The options that say where and in what a model runs. */
export function addModelOptions(command: Command): Command {
  return command
    .addOption(backendOption())
    .addOption(precisionOption())
    .addOption(deviceOption())
    .addOption(threadsOption());
}

export function loadOptions(options: ModelOptions): LoadOptions {
  return given(options, 'backend', 'precision', 'device', 'threads');
}

/** Only what the user gave: absent flags stay absent, so that the library's own defaults hold. */
export function given<T extends object, K extends keyof T>(
  options: T,
  ...names: K[]
): { [P in K]?: NonNullable<T[P]> } {
  const result: { [P in K]?: NonNullable<T[P]> } = {};
  for (const name of names) {
    const value = options[name];
    if (value !== undefined && value !== null) result[name] = value;
  }
  return result;
}

/** The levels that a choice means for a checkpoint. @throws ELASTICLM_LEVEL_UNKNOWN before any work is done */
export function resolveLevels(
  choice: LevelChoice,
  available: readonly { level: number }[],
): readonly number[] {
  const known = available.map(({ level }) => level);
  if (choice === 'all') return known;
  for (const level of choice) {
    if (known.includes(level)) continue;
    throw ElasticError.of('ELASTICLM_LEVEL_UNKNOWN', {
      expected: `a level of the checkpoint: ${known.join(', ')}`,
      subject: '--level',
      received: String(level),
    });
  }
  return choice;
}
