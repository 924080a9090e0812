/** Trainings in processes of their own, that are killed. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TrainEvent, TrainOptions } from '../../lib/train/index.js';

export type ProgramEvent =
  | TrainEvent
  | { type: 'result'; reason: string; step: number; model?: string }
  | { type: 'error'; code?: string; message: string };

export interface ProgramRun {
  events: ProgramEvent[];
  signal: NodeJS.Signals | null;
}

export interface ProgramOptions {
  folder: string;
  /** of tinyDistillation() */
  changes: Partial<TrainOptions>;
  /** kill -9 as soon as this is true, asked at every event */
  killAt?: (event: ProgramEvent) => boolean;
  /** kill -9 so long after that, or after the start where `killAt` is absent: any moment of what follows */
  delayMs?: number;
  /** the largest file that the program may write, in KiB */
  fileKiB?: number;
}

/** Runs `test/train/programs/tiny-run.ts` to its end, or to its death. */
export function runTinyTraining(options: ProgramOptions): Promise<ProgramRun> {
  const { folder, changes, killAt, delayMs, fileKiB } = options;
  const program = fileURLToPath(new URL('../train/programs/tiny-run.ts', import.meta.url));
  const args = ['--import', import.meta.resolve('tsx'), program, folder, JSON.stringify(changes)];
  const limited = ['-c', `ulimit -f ${fileKiB ?? 'unlimited'}; exec "$0" "$@"`, process.execPath, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn('bash', limited, { stdio: ['ignore', 'pipe', 'inherit'] });
    const events: ProgramEvent[] = [];
    let text = '';
    let isDoomed = false;
    const doom = (afterMs: number): void => {
      setTimeout(() => child.kill('SIGKILL'), afterMs).unref();
    };
    if (killAt === undefined && delayMs !== undefined) doom(delayMs);
    child.stdout.on('data', (part: Buffer) => {
      const lines = (text + part.toString('utf8')).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const event = JSON.parse(line) as ProgramEvent;
        events.push(event);
        if (isDoomed || killAt?.(event) !== true) continue;
        isDoomed = true;
        doom(delayMs ?? 0);
      }
    });
    child.on('error', reject);
    child.on('close', (_, signal) => resolve({ events, signal }));
  });
}

/** What comes of a run, without what depends on the clock. */
export interface TrainingOutcome {
  weights: Buffer;
  log: unknown[];
}

export function outcomeOf(folder: string): TrainingOutcome {
  const text = readFileSync(join(folder, 'run', 'log.jsonl'), 'utf8');
  const log = text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const record = JSON.parse(line) as Record<string, unknown>;
      delete record.tokensPerSecond;
      delete record.secondsLeft;
      return record;
    });
  return { weights: readFileSync(join(folder, 'run', 'model', 'model.safetensors')), log };
}
