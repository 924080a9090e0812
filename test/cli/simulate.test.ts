/** `profile` and `simulate` as a shell runs them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { checkProfile, type Summary } from '../../lib/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { runCli, runCliForJson } from '../support/run-cli.js';

/** Each test starts a process or two, which a busy machine takes its time over. */
vi.setConfig({ testTimeout: 120_000 });

let scratch: string;
let profile: string;
beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'elasticlm-simulate-'));
  profile = path.join(scratch, 'machine.json');
  const levels = [1, 0.5, 0.1].map((level) => ({
    level,
    quality: 0.8 + 0.2 * level,
    perSequenceMs: 0.05,
    perTokenMs: 0.1 * level,
    perTokenSquareMs: 1e-5 * level,
  }));
  const machine = '<b>here</b>';
  writeFileSync(
    profile,
    JSON.stringify({ format: 'elasticlm-profile', version: 1, machine, batchMs: 0.2, levels }),
  );
});
afterAll(() => rmSync(scratch, { recursive: true }));

type Row = Summary & { load: number; policy: string };

describe('elasticlm profile', () => {
  it('writes a profile that simulate reads', async () => {
    const model = path.join(scratch, 'model');
    const output = path.join(scratch, 'measured.json');
    writeTinyCheckpoint(model, { maxPositions: 128, elastic: evenLevels(configOf(), [0.5]) });
    const [printed] = await runCliForJson<object>(['profile', model, '--output', output, '--seconds', '0.2']);
    const written: unknown = JSON.parse(readFileSync(output, 'utf8'));
    expect(checkProfile(written, output)).toEqual(printed);
    const rows = await runCliForJson<Row>([
      'simulate',
      '--profile',
      output,
      '--load',
      '1',
      '--seconds',
      '0.5',
    ]);
    expect(rows.map(({ policy }) => policy)).toEqual(['static-1', 'static-0.5', 'paper', 'slack']);
  });
});

describe('elasticlm simulate', () => {
  it.each(['constant', 'poisson', 'mmpp', 'diurnal'])(
    'plays %s arrivals, the same again with the same seed',
    async (kind) => {
      const args = [
        'simulate',
        '--profile',
        profile,
        '--arrivals',
        kind,
        '--load',
        '0.5,4',
        '--seconds',
        '20',
      ];
      const rows = await runCliForJson<Row>([...args, '--noise', '0.2']);
      expect(rows).toHaveLength(8);
      for (const { offered, met, late, refused, expired } of rows) {
        expect(offered).toBeGreaterThan(100);
        expect(met + late + refused + expired).toBe(offered);
      }
      expect(await runCliForJson<Row>([...args, '--noise', '0.2'])).toEqual(rows);
    },
  );

  it('writes a report that is one file and asks for no other', async () => {
    const html = path.join(scratch, 'report.html');
    const { code, stdout } = await runCli([
      'simulate',
      '--profile',
      profile,
      '--seconds',
      '5',
      '--html',
      html,
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain('slack');
    const page = readFileSync(html, 'utf8');
    expect(page).not.toMatch(/<(?:script|img|link|iframe)[^>]+(?:src|href)=/);
    expect(page).not.toMatch(/@import|url\(/);
    expect(page).toContain('&#60;b&#62;here');
    const data = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)![1]!;
    expect(JSON.parse(data)).toMatchObject({
      loads: [0.5, 1, 2, 4],
      policies: ['static-1', 'static-0.1', 'paper', 'slack'],
    });
    expect(page.match(/<figure>/g)).toHaveLength(2 + 4 * 5);
  });

  it.each([
    ['no profile', []],
    ['options of another process', ['--arrivals', 'poisson', '--states', '1:2,3:4']],
    ['options of a trace without one', ['--tokens-column', 'x']],
    ['an unknown policy', ['--policy', 'fair']],
    ['a load of 0', ['--load', '0']],
  ])('ends with 2 for %s', async (_, args) => {
    const given = args.length === 0 ? [] : ['--profile', profile, ...args];
    const { code, stdout, stderr } = await runCli(['simulate', ...given]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('error');
  });

  it('ends with 1 and a code for levels and files that are not there', async () => {
    const unknown = await runCli(['simulate', '--profile', profile, '--policy', 'static-0.7']);
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain('ELASTICLM_LEVEL_UNKNOWN');
    const missing = await runCli(['simulate', '--profile', path.join(scratch, 'none.json')]);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain('ELASTICLM_FILE_NOT_FOUND');
  });
});
