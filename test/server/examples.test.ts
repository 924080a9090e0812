/** The servers under examples/, each as a process of its own, importing the package by its name. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';

vi.setConfig({ testTimeout: 120_000 });

let scratch: string;
let encoder: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-examples-'));
  encoder = join(scratch, 'encoder');
  writeTinyCheckpoint(encoder, { elastic: evenLevels(configOf(), [0.5]) });
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** The package's sources under its own name: its build may be older, or not there. */
const sources = fileURLToPath(new URL('../support/package-sources.mjs', import.meta.url));

async function start(example: string): Promise<{ child: ChildProcess; url: string }> {
  const file = fileURLToPath(new URL(`../../examples/${example}`, import.meta.url));
  const args = ['--import', import.meta.resolve('tsx'), '--import', sources, file, encoder, '0'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, url: `http://127.0.0.1:${/\d+$/.exec(line)![0]}` };
}

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
}

const asked = (body: object): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', connection: 'close' },
  body: JSON.stringify(body),
});

describe('examples', () => {
  it('http.mjs answers with a vector', async () => {
    const { child, url } = await start('http.mjs');
    const answer = await fetch(`${url}/?q=fox`, { headers: { connection: 'close' } });
    const { level, vector } = (await answer.json()) as { level: number; vector: number[] };
    expect(level).toBe(1);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    await end(child);
  });

  it('express.mjs answers with vectors, and with a code for what is wrong', async () => {
    const { child, url } = await start('express.mjs');
    const right = await fetch(`${url}/embed`, asked({ texts: ['fox', 'dog'] }));
    expect(((await right.json()) as { vectors: number[][] }).vectors).toHaveLength(2);
    const wrong = await fetch(`${url}/embed`, asked({ texts: [5] }));
    expect(await wrong.json()).toMatchObject({ code: 'ELASTICLM_ARGUMENT_INVALID' });
    await end(child);
  });

  it('fastify.mjs has its own routes and those of the plugin', async () => {
    const { child, url } = await start('fastify.mjs');
    expect(await (await fetch(url, { headers: { connection: 'close' } })).json()).toEqual({ hello: 'world' });
    const answer = await fetch(`${url}/ai/v1/embeddings`, asked({ input: 'fox' }));
    expect(((await answer.json()) as { data: object[] }).data).toHaveLength(1);
    await end(child);
  });
});
