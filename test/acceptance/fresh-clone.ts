/** The README's commands in a fresh clone of HEAD, as a newcomer runs them. Needs the registry for `npm ci`. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { runProcess } from '../support/run-process.js';
import { storeResult } from './support/result.js';

const script = fileURLToPath(new URL('support/fresh-clone.sh', import.meta.url));

/** npm and vitest pass their own state to what they start; a newcomer's shell has none of it. */
const isInherited = (name: string): boolean => /^(npm_|NODE_ENV$|NODE_OPTIONS$|VITEST|TEST$)/i.test(name);
const inherited = Object.entries(process.env).filter(([name]) => !isInherited(name));
/** Output goes to a record, where colours are noise. */
const env = { ...Object.fromEntries(inherited), NO_COLOR: '1' };

describe('a fresh clone', () => {
  const passed: { command: string; seconds: number; lastLines: string[] }[] = [];

  it.each(['demo', 'test'])('runs the command of the README: %s', async (name) => {
    const start = performance.now();
    const { code, stdout, stderr } = await runProcess('sh', [script, name], { env });
    expect(code, `${stdout.slice(-4000)}\n${stderr.slice(-4000)}`).toBe(0);
    const seconds = Math.round((performance.now() - start) / 1000);
    passed.push({ command: name, seconds, lastLines: stdout.trimEnd().split('\n').slice(-6) });
  });

  it('leaves a record', () => {
    expect(passed.map(({ command }) => command)).toEqual(['demo', 'test']);
    storeResult('fresh-clone', { commands: passed });
  });
});
