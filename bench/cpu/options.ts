/** Command-line options of the CPU benchmarks. */
import { parseArgs } from 'node:util';

export type BenchPrecision = 'f32' | 'bf16' | 'i8';

export const partNames = ['speed', 'levels', 'mixed', 'threads', 'base', 'index'] as const;
export type PartName = (typeof partNames)[number];

export interface CpuBenchOptions {
  part: PartName;
  precisions: BenchPrecision[];
  threads: number[];
  rounds: number;
  /** where the record is kept; undefined: bench/results/cpu-<part>.json */
  out: string;
  /** folder of a BEIR collection, for part index */
  data: string | undefined;
  /** how many of its documents; undefined: all */
  documents: number | undefined;
}

const precisions: readonly BenchPrecision[] = ['f32', 'bf16', 'i8'];

const usage = `usage: npm run bench -- --part ${partNames.join('|')} [--precision f32,bf16,i8] [--threads 1,2] [--rounds 7]
         [--out bench/results/cpu-PART.json] [--data FOLDER --documents N] (index: a collection in BEIR layout)`;

/** What was asked for cannot be run; the message says what can. */
export class UsageError extends Error {
  constructor(problem: string) {
    super(`${problem}\n${usage}`);
  }
}

/** @throws UsageError */
export function parseOptions(args: string[]): CpuBenchOptions {
  const { values } = parseArgs({
    args,
    options: {
      part: { type: 'string' },
      precision: { type: 'string', default: precisions.join(',') },
      threads: { type: 'string', default: '1,2' },
      rounds: { type: 'string', default: '7' },
      out: { type: 'string' },
      data: { type: 'string' },
      documents: { type: 'string' },
    },
  });
  const part = known(partNames, '--part', values.part);
  return {
    part,
    precisions: values.precision.split(',').map((name) => known(precisions, '--precision', name)),
    threads: values.threads.split(',').map((text) => count('--threads', text)),
    rounds: count('--rounds', values.rounds),
    out: values.out ?? `bench/results/cpu-${part}.json`,
    data: values.data,
    documents: values.documents === undefined ? undefined : count('--documents', values.documents),
  };
}

function known<Name extends string>(names: readonly Name[], option: string, text: string | undefined): Name {
  const name = names.find((candidate) => candidate === text);
  if (name !== undefined) return name;
  throw new UsageError(`expected one of ${names.join(', ')} for ${option}, received ${text ?? 'none'}`);
}

function count(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new UsageError(`expected a whole number of at least 1 for ${option}, received ${text}`);
}
