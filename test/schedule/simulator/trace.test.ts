import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CostModel, readProfile, readTrace } from '../../../lib/index.js';
import { expectRejection } from '../../support/expect-code.js';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-trace-'));
});
afterAll(() => rmSync(scratch, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

describe('readTrace()', () => {
  it('reads dates with seven decimals and caps sizes at 512 tokens', async () => {
    const text =
      'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47.1805900,879,55\n';
    const trace = await readTrace(file('azure.csv', text), {
      timestampColumn: 'TIMESTAMP',
      tokensColumn: 'ContextTokens',
    });
    const played = [...trace.arrivals(2)];
    expect(played.map(({ work }) => work.tokens)).toEqual([374, 512]);
    expect(played[1]!.arrivalMs).toBeCloseTo(250, 3);
  });

  it('reads JSON lines, and plays a trace at a load', async () => {
    const lines = [0, 1, 2, 3, 4].map((timestamp) => JSON.stringify({ timestamp, tokens: 100 }));
    const trace = await readTrace(file('t.jsonl', `${lines.join('\n')}\n`));
    const perToken = { perSequenceMs: 0, perTokenMs: 1, perTokenSquareMs: 0 };
    // five requests of 100 ms in 4 s: a load of 1 is 8 times as fast
    expect(trace.speedAtLoad(1, new CostModel({ batchMs: 0, levels: [perToken] }))).toBeCloseTo(8, 9);
  });

  it.each([
    ['no such column', 'time,tokens\n1,2\n', /line 1 of .*column "timestamp"|column "timestamp".*line 1/],
    ['no time', 'timestamp,tokens\nnever,2\n', /line 2/],
    ['a date among numbers', 'timestamp,tokens\n1,2\n2023-11-16 18:15:46,3\n', /line 3/],
    ['no number of tokens', 'timestamp,tokens\n1,2\n2,none\n', /line 3/],
    ['no tokens', 'timestamp,tokens\n1,2\n2,0\n', /line 3/],
    ['times that fall', 'timestamp,tokens\n2,2\n1,2\n', /line 3/],
    ['rows of other lengths', 'timestamp,tokens\n2,2,3\n', /line 2/],
    ['a single time', 'timestamp,tokens\n2,2\n', /two different times/],
    ['February 30', 'timestamp,tokens\n2023-02-30 10:00:00,2\n', /line 2/],
  ])('refuses %s, naming the line', async (_, text, message) => {
    await expectRejection(readTrace(file('bad.csv', text)), 'ELASTICLM_DATA_INVALID', message);
  });

  it('refuses files that are not there, and formats that it does not know', async () => {
    await expectRejection(readTrace(join(scratch, 'none.csv')), 'ELASTICLM_FILE_NOT_FOUND');
    await expectRejection(readTrace(file('t.txt', 'x')), 'ELASTICLM_ARGUMENT_INVALID', /\.csv/);
  });
});

describe('readProfile()', () => {
  const level = { level: 1, quality: 1, perSequenceMs: 0.1, perTokenMs: 0.1, perTokenSquareMs: 0 };
  const profile = { format: 'elasticlm-profile', version: 1, machine: 'one', batchMs: 0.1, levels: [level] };

  it('reads what it is', async () => {
    expect(await readProfile(file('p.json', JSON.stringify(profile)))).toEqual(profile);
  });

  it.each([
    ['no JSON', '{', /p\.json/],
    ['another version', JSON.stringify({ ...profile, version: 2 }), /version 2/],
    ['no levels', JSON.stringify({ ...profile, levels: [] }), /levels/],
    [
      'levels that rise',
      JSON.stringify({ ...profile, levels: [{ ...level, level: 0.5 }, level] }),
      /levels\[1\]/,
    ],
    ['a negative time', JSON.stringify({ ...profile, levels: [{ ...level, perTokenMs: -1 }] }), /perTokenMs/],
    [
      'a level that costs nothing',
      JSON.stringify({ ...profile, levels: [{ ...level, perTokenMs: 0, perSequenceMs: 0 }] }),
      /above 0/,
    ],
  ])('refuses %s', async (_, text, message) => {
    await expectRejection(readProfile(file('p.json', text)), 'ELASTICLM_DATA_INVALID', message);
  });
});
