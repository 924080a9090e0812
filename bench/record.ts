import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const repositoryRoot = fileURLToPath(new URL('..', import.meta.url));

/** What decides a measurement besides the machine: a change of these is a change of what was measured. */
const measuredPaths = ['lib', 'native', 'binding.gyp', 'CMakeLists.txt', 'package-lock.json'];

/** Where and when something was measured: the head of every stored record. */
export interface RecordHead {
  commit: string;
  /** whether tracked files that decide the measurement differed from that commit */
  modified: boolean;
  date: string;
  machine: { cpu: string; cores: number; memoryGiB: number; platform: string; node: string };
}

export function recordHead(): RecordHead {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: repositoryRoot, encoding: 'utf8' }).trim();
  return {
    commit: git('rev-parse', 'HEAD'),
    modified: git('status', '--porcelain', '--untracked-files=no', '--', ...measuredPaths) !== '',
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      platform: `${process.platform}-${process.arch}`,
      node: process.version,
    },
  };
}

/** Stores a record as JSON, head first. */
export function writeRecord(path: string, body: object): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify({ ...recordHead(), ...body }, null, 2)}\n`);
  process.stderr.write(`record: ${relative(repositoryRoot, path)}\n`);
}
