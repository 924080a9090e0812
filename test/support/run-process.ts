/** Child processes for tests: never blocking, so that the test runner stays responsive. */
import { spawn } from 'node:child_process';

export interface ProcessOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** written to standard input, which is then closed */
  input?: string;
}

export interface ProcessResult {
  /** null when a signal ended it */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end and collects what it wrote. Rejects only when it cannot be started. */
export function runProcess(
  program: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<ProcessResult> {
  return new Promise((resolve, reject) => {
    const { cwd, env = process.env, input = '' } = options;
    const child = spawn(program, args, { cwd, env, stdio: 'pipe' });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => stdout.push(part));
    child.stderr.on('data', (part: Buffer) => stderr.push(part));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const text = (parts: Buffer[]): string => Buffer.concat(parts).toString('utf8');
      resolve({ code, signal, stdout: text(stdout), stderr: text(stderr) });
    });
    // A command that fails before it reads closes its input: that is its right, and its exit code tells.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}
