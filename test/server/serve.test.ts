/** `elasticlm serve` as a process. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { cliArguments, runCli } from '../support/run-cli.js';

vi.setConfig({ testTimeout: 120_000 });

let scratch: string;
let encoder: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-serve-'));
  encoder = join(scratch, 'encoder');
  writeTinyCheckpoint(encoder, { maxPositions: 128, elastic: evenLevels(configOf(), [0.5]) });
});
afterAll(() => rmSync(scratch, { recursive: true }));

async function start(...args: string[]): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(
    process.execPath,
    [...cliArguments, 'serve', encoder, '--port', '0', '--quiet', ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, 'line')) as [string];
  return { child, url: /http:\S+/.exec(line)![0] };
}

/** Texts that wait, run or have been answered. */
async function textsTaken(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const taken = metrics.matchAll(/^elasticlm_(?:queue_length|running|texts_total)\{[^}]*\} (\d+)$/gm);
  return [...taken].reduce((sum, [, count]) => sum + Number(count), 0);
}

function embed(url: string, inputs: string[]): Promise<Response> {
  return fetch(`${url}/embed`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-elasticlm-priority': 'bulk' },
    body: JSON.stringify({ inputs }),
  });
}

describe('elasticlm serve', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    'answers every request that it has when it gets %s, and ends with 0',
    async (signal) => {
      const { child, url } = await start();
      expect((await embed(url, ['the quick brown fox'])).status).toBe(200);
      const inputs = Array<string>(400).fill('gene of a cell '.repeat(30));
      const answers = Array.from({ length: 12 }, () => embed(url, inputs));
      while ((await textsTaken(url)) < answers.length * inputs.length) await setTimeout(5);
      child.kill(signal);
      const exit = once(child, 'exit');
      const sizes = await Promise.all(
        answers.map(async (answer) => ((await (await answer).json()) as unknown[]).length),
      );
      expect(sizes).toEqual(Array<number>(12).fill(inputs.length));
      expect(await exit).toEqual([0, null]);
      await expect(embed(url, ['x'])).rejects.toThrow();
    },
  );

  it('ends with 2 without a model and for a wrong port or policy, with 1 for a folder that is none', async () => {
    for (const args of [[], [encoder, '--port', '70000'], [encoder, '--policy', 'fair']]) {
      expect((await runCli(['serve', ...args])).code).toBe(2);
    }
    const { code, stderr } = await runCli(['serve', join(scratch, 'none')]);
    expect(code).toBe(1);
    expect(stderr).toContain('ELASTICLM_FILE_NOT_FOUND');
  });

  it('ends with 1 where it cannot listen', async () => {
    const { child, url } = await start();
    const { code, stderr } = await runCli(['serve', encoder, '--quiet', '--port', new URL(url).port]);
    expect(code).toBe(1);
    expect(stderr).toContain('EADDRINUSE');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});
