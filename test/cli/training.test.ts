/** `elasticlm finetune | distill | chart`, and importance by gradients in `elasticize`, as a shell runs them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { SaxesParser } from 'saxes';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { cliArguments, runCli, runCliForJson } from '../support/run-cli.js';

vi.setConfig({ testTimeout: 120_000 });

let scratch: string;
let model: string;
let texts: string;
let recipe: string;

const inScratch = (...parts: string[]): string => path.join(scratch, ...parts);

beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'elasticlm-training-'));
  model = inScratch('model');
  texts = inScratch('texts.jsonl');
  recipe = inScratch('recipe.json');
  writeTinyCheckpoint(model);
  const lines = Array.from({ length: 60 }, (_, idx) =>
    JSON.stringify({ title: `fox ${idx}`, text: `The quick brown fox ${idx}. A lazy dog ${idx * 7} jumps.` }),
  );
  writeFileSync(texts, `${lines.join('\n')}\n`);
  const rows = Array.from({ length: 6 }, (_, idx) => `${idx}\ta fox ${idx}\ta dog ${idx * idx}\t${idx % 5}`);
  writeFileSync(inScratch('dev.tsv'), ['index\tsentence1\tsentence2\tscore', ...rows, ''].join('\n'));
  writeFileSync(
    recipe,
    JSON.stringify({
      kind: 'embedding',
      model: 'model',
      output: 'run',
      threads: 1,
      data: { source: 'text', paths: ['texts.jsonl'], maxLength: 32 },
      elasticize: { levels: [1, 0.5], examples: 20 },
      distill: { learningRate: 1e-3, steps: 12, tokensPerMicroBatch: 200, precision: 'f32' },
      evaluation: { everySteps: 6, tasks: [{ task: 'sts', data: '.', metrics: ['spearman'] }] },
    }),
  );
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

/** Fails unless `text` is well-formed XML; gives how often each element occurs. */
function elementsOf(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  const parser = new SaxesParser();
  parser.on('error', (error) => {
    throw error;
  });
  parser.on('opentag', ({ name }) => counts.set(name, (counts.get(name) ?? 0) + 1));
  parser.write(text).close();
  return counts;
}

interface Event {
  type: string;
  stage: string;
  step: number;
  losses?: Record<string, { total: number }>;
}

describe('elasticlm distill', () => {
  it('runs a recipe: events as JSON lines, a log, a chart and a model', async () => {
    const events = await runCliForJson<Event>(['distill', '--config', recipe]);
    const steps = events.filter(({ type }) => type === 'step');
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, idx) => idx + 1));
    expect(Object.keys(steps[0]!.losses!).sort()).toEqual(['0.5', '1']);
    expect(events.filter(({ type }) => type === 'evaluation')).toHaveLength(2);
    expect(events.at(-1)).toMatchObject({
      type: 'result',
      stage: 'distill',
      reason: 'steps',
      model: inScratch('run', 'distill', 'model'),
    });
    // loss, learning rate and one metric; both losses and both levels of the metric have a line
    const chart = readFileSync(inScratch('run', 'distill', 'chart.svg'), 'utf8');
    expect(chart.match(/stroke-width="1.5"/g)).toHaveLength(2 + 1 + 2);
    expect(chart).not.toContain('NaN');
    expect(elementsOf(chart).get('svg')).toBe(1);
    const [info] = await runCliForJson<{ levels: { level: number }[] }>([
      'info',
      inScratch('run', 'distill', 'model'),
    ]);
    expect(info!.levels.map(({ level }) => level)).toEqual([1, 0.5]);
  });

  it('refuses to begin where a run is, and shows its result when told to resume', async () => {
    const refused = await runCli(['distill', '--config', recipe]);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^elasticlm: ELASTICLM_ARGUMENT_INVALID: .*resume/i);
    const resumed = await runCli(['distill', '--config', recipe, '--resume']);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stderr).toBe('');
    expect(resumed.stdout).toContain('sts/spearman');
    expect(resumed.stdout).toContain('level 0.5');
  });

  it('takes flags alone, and in place of fields of a recipe', async () => {
    const flags = ['--kind', 'embedding', '--model', model, '--output', inScratch('flags'), '--text', texts];
    const events = await runCliForJson<Event>([
      ...['distill', ...flags, '--levels', '1,0.25', '--steps', '2', '--threads', '1', '--precision', 'f32'],
      ...['--set', 'elasticize.examples=8', 'distill.objective={"embedding":{"mseWeight":1}}'],
    ]);
    expect(events.at(-1)).toMatchObject({ type: 'result', step: 2 });
    const other = ['--output', inScratch('other'), '--steps', '3', '--seed', '9'];
    const replaced = await runCliForJson<Event>(['distill', '--config', recipe, ...other]);
    expect(replaced.at(-1)).toMatchObject({ step: 3, model: inScratch('other', 'distill', 'model') });
  });

  it('writes its state when it is interrupted, and goes on from there', async () => {
    const output = inScratch('interrupted');
    const args = ['distill', '--config', recipe, '--output', output, '--steps', '4000', '--json'];
    const child = spawn(process.execPath, [...cliArguments, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const exit = once(child, 'exit');
    while (!stdout.includes('"type":"step"') && child.exitCode === null) await setTimeout(20);
    child.kill('SIGINT');
    expect((await exit)[0], stderr).toBe(1);
    expect(stderr).toMatch(/^elasticlm: ELASTICLM_CALL_ABORTED: /);
    expect(existsSync(path.join(output, 'distill', 'state.safetensors'))).toBe(true);
    const events = await runCliForJson<Event>([
      ...args.slice(0, -1),
      ...['--resume', '--max-minutes', '0.0001'],
    ]);
    expect(events[0]!.type).toBe('start');
    expect(events[0]!.step).toBeGreaterThan(0);
    expect(events.at(-1)).toMatchObject({ type: 'result', reason: 'time' });
  });
});

describe('elasticlm finetune', () => {
  it('makes a teacher from flags', async () => {
    const rows = Array.from({ length: 8 }, (_, idx) => `a fox ${idx}\t${idx % 2}`);
    writeFileSync(inScratch('train.tsv'), ['sentence\tlabel', ...rows, ''].join('\n'));
    const output = inScratch('teacher');
    const { code, stdout, stderr } = await runCli([
      ...['finetune', '--kind', 'classification', '--task', 'sst2', '--data', scratch, '--model', model],
      ...['--output', output, '--epochs', '1', '--max-length', '16', '--threads', '1'],
    ]);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain(path.join(output, 'finetune', 'model'));
    const config = readFileSync(path.join(output, 'finetune', 'model', 'config.json'), 'utf8');
    expect(JSON.parse(config)).toMatchObject({ id2label: { 0: 'negative', 1: 'positive' } });
  });
});

describe('elasticlm elasticize --importance mask-gradient', () => {
  it('ranks by a contrastive loss over text alone', async () => {
    const output = inScratch('gradients');
    const [result] = await runCliForJson<{ examples: number }>([
      ...['elasticize', model, output, '--text', texts, '--importance', 'mask-gradient', '--examples', '30'],
    ]);
    expect(result!.examples).toBe(30);
    const file = JSON.parse(readFileSync(path.join(output, 'elastic.json'), 'utf8')) as object;
    expect(file).toMatchObject({ importance: { method: 'mask-gradient', loss: 'contrastive' } });
  });
});

describe('elasticlm chart', () => {
  const step = (idx: number): string =>
    JSON.stringify({
      type: 'step',
      step: idx,
      losses: { 1: { total: 1 / idx }, 0.5: { total: 2 / idx } },
      learningRate: 0.1 / idx,
    });

  it('draws a log as SVG or as a page, whatever its title holds', async () => {
    const log = inScratch('log.jsonl');
    const evaluation = { type: 'evaluation', step: 900, metrics: { 'a<b/m&m': { 1: 0.5, 0.5: 0.4 } } };
    const lines = [...Array.from({ length: 1000 }, (_, idx) => step(idx + 1)), JSON.stringify(evaluation)];
    writeFileSync(log, lines.join('\n'));
    const title = '<script>&"\u0007';
    const svg = inScratch('chart.svg');
    const page = inScratch('chart.html');
    for (const output of [svg, page]) {
      const { code, stderr } = await runCli(['chart', log, '--output', output, '--title', title]);
      expect(code, stderr).toBe(0);
    }
    const text = readFileSync(svg, 'utf8');
    const elements = elementsOf(text);
    expect(elements.get('script')).toBeUndefined();
    expect(text).toContain('a&lt;b/m&amp;m');
    expect(text).not.toMatch(/NaN|Infinity|undefined/);
    expect(text.length).toBeLessThan(60_000);
    expect(readFileSync(page, 'utf8')).toContain(text.trim());
  });

  it('draws a log of nothing yet', async () => {
    const log = inScratch('empty.jsonl');
    writeFileSync(log, '');
    const output = inScratch('empty.svg');
    expect((await runCli(['chart', log, '--output', output])).code).toBe(0);
    expect(elementsOf(readFileSync(output, 'utf8')).get('svg')).toBe(1);
  });

  it.each<[string, string]>([
    ['no JSON', '{"type":'],
    ['another event', '{"type":"start"}'],
    ['losses that are none', '{"type":"step","step":1,"learningRate":1,"losses":{"1":2}}'],
    ['metrics that are none', '{"type":"evaluation","step":1,"metrics":{"a":1}}'],
  ])('refuses %s, naming the line', async (_, line) => {
    const log = inScratch('broken.jsonl');
    writeFileSync(log, `${step(1)}\n${line}\n`);
    const { code, stderr } = await runCli(['chart', log, '--output', inScratch('never.svg')]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^elasticlm: ELASTICLM_DATA_INVALID: .* line 2 of /);
    expect(existsSync(inScratch('never.svg'))).toBe(false);
  });
});

describe('usage errors of training', () => {
  it.each<[string, string[]]>([
    ['neither a recipe nor a kind', ['distill']],
    ['no model', ['finetune', '--kind', 'mlm', '--output', 'x']],
    ['an unknown kind', ['distill', '--kind', 'magic']],
    ['no steps', ['distill', '--config', 'x', '--steps', '0']],
    ['a learning rate of 0', ['distill', '--config', 'x', '--learning-rate', '0']],
    ['a field without a value', ['distill', '--config', 'x', '--set', 'seed']],
    ['a chart without a place', ['chart', 'log.jsonl']],
    ['an unknown importance', ['elasticize', 'a', 'b', '--importance', 'luck']],
    ['importance without text', ['elasticize', 'a', 'b']],
  ])('%s ends with 2, says so on stderr and prints nothing', async (_, args) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }, stderr).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/error:/);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it('a recipe that is wrong is a failure that names the field', async () => {
    const { code, stderr } = await runCli(['distill', '--config', recipe, '--set', 'distill.stepz=1']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^elasticlm: ELASTICLM_RECIPE_INVALID: .*distill\.stepz/);
  });
});
