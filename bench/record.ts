import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { dirname } from 'node:path';

/** Where and when something was measured: the head of every stored record. */
export interface RecordHead {
  commit: string;
  /** whether tracked files differed from that commit */
  modified: boolean;
  date: string;
  machine: { cpu: string; cores: number; memoryGiB: number; platform: string; node: string };
}

export function recordHead(): RecordHead {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim();
  return {
    commit: git('rev-parse', 'HEAD'),
    modified: git('status', '--porcelain', '--untracked-files=no', '--', 'lib', 'native', 'binding.gyp') !== '',
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
  process.stderr.write(`record: ${path}\n`);
}
