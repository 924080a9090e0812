import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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

/** A record that is measured piece by piece: each run has the head of its own. */
interface RunsRecord {
  runs: (RecordHead & Record<string, unknown>)[];
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
  write(path, { ...recordHead(), ...body });
}

/**
 * Stores one run of a record in pieces, in the place of an earlier run with the same `key`. Runs stand in the order of
 * their keys.
 */
export function writeRun(path: string, key: Record<string, string | number>, body: object): void {
  const keyOf = (run: Record<string, unknown>): string =>
    JSON.stringify(Object.keys(key).map((name) => run[name]));
  const run = { ...recordHead(), ...key, ...body };
  const earlier = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as RunsRecord).runs : [];
  const others = earlier.filter((other) => keyOf(other) !== keyOf(run));
  write(path, { runs: [...others, run].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)) });
}

/** Longest value that stands on one line: a measured point with its bars. */
const lineLength = 260;

/** JSON to read: a value that fits one line stands on one. */
function toText(value: unknown, indent = ''): string {
  const line = JSON.stringify(value);
  if (typeof value !== 'object' || value === null || line.length <= lineLength) return line;
  const inner = `${indent}  `;
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  const parts = Array.isArray(value)
    ? value.map((item) => inner + toText(item, inner))
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => `${inner}${JSON.stringify(key)}: ${toText(item, inner)}`);
  return `${open}\n${parts.join(',\n')}\n${indent}${close}`;
}

function write(path: string, content: object): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${toText(content)}\n`);
  process.stderr.write(`record: ${relative(repositoryRoot, path)}\n`);
}
