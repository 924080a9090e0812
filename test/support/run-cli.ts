/** The command line from its sources, in a process of its own. */
import { fileURLToPath } from 'node:url';
import { runProcess, type ProcessOptions, type ProcessResult } from './run-process.js';

export const cliEntry = fileURLToPath(new URL('../../lib/cli/main.ts', import.meta.url));
/** Arguments of node before those of the command. Resolved here, so that a command may run in any folder. */
export const cliArguments: readonly string[] = ['--import', import.meta.resolve('tsx'), cliEntry];

export function runCli(args: readonly string[], options: ProcessOptions = {}): Promise<ProcessResult> {
  return runProcess(process.execPath, [...cliArguments, ...args], options);
}

/** The objects that a command printed as JSON lines. Fails with what it wrote to stderr when it did not end with 0. */
export async function runCliForJson<T>(args: readonly string[], options: ProcessOptions = {}): Promise<T[]> {
  const { code, stdout, stderr } = await runCli([...args, '--json'], options);
  if (code !== 0) throw new Error(`elasticlm ${args.join(' ')} ended with ${code ?? 'a signal'}: ${stderr}`);
  return parseJsonLines<T>(stdout);
}

/** Fails on a line that is not one JSON object. */
export function parseJsonLines<T>(text: string): T[] {
  if (text === '') return [];
  if (!text.endsWith('\n'))
    throw new Error(`expected complete lines, found ${JSON.stringify(text.slice(-80))}`);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => {
      const value: unknown = JSON.parse(line);
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw new Error(`not an object: ${line}`);
      return value as T;
    });
}
