import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  checkElasticFile,
  readElasticFile,
  serialiseElasticFile,
  type ElasticFile,
} from '../../lib/model/index.js';
import type { EncoderConfig } from '../../lib/types.js';
import { expectCode, expectRejection } from '../support/expect-code.js';
import { configOf } from '../support/checkpoint.js';
import { range } from '../support/reference-encoder.js';

const config: EncoderConfig = configOf({ layers: 2, heads: 4, neurons: 6 });

let root: string;
let path: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'elasticlm-file-'));
  path = join(root, 'elastic.json');
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const whole: ElasticFile = {
  levels: [
    { level: 1, heads: [4, 4], neurons: [6, 6] },
    { level: 0.5, heads: [3, 1], neurons: [0, 6], adapter: 0 },
    { level: 0.125, heads: [0, 1], neurons: [0, 0] },
  ],
  importance: { method: 'activation', examples: 12, seed: 1 },
  permutation: { heads: [[3, 1, 0, 2], range(4)], neurons: [[5, 4, 3, 2, 1, 0], range(6)] },
  pooling: 'cls',
  normalize: false,
  maxLength: 64,
  quality: [{ task: 'scifact', metric: 'ndcg@10', byLevel: { '1': 0.645, '0.5': 0.63 } }],
};

describe('elastic.json', () => {
  it('reads back what was written', async () => {
    writeFileSync(path, serialiseElasticFile(whole));
    expect(await readElasticFile(path, config)).toEqual(whole);
    const least: ElasticFile = { levels: whole.levels.slice(0, 1) };
    writeFileSync(path, serialiseElasticFile(least));
    expect(await readElasticFile(path, config)).toEqual(least);
    checkElasticFile(whole, path, config);
  });

  it('is the format of the specification: snake_case names, format and version first', () => {
    const parsed = JSON.parse(serialiseElasticFile(whole)) as Record<string, unknown>;
    expect(Object.keys(parsed)).toEqual([
      'format',
      'version',
      'levels',
      'importance',
      'permutation',
      'pooling',
      'normalize',
      'max_length',
      'quality',
    ]);
    expect(parsed).toMatchObject({
      format: 'elasticlm',
      version: 1,
      quality: [{ by_level: { '1': 0.645 } }],
    });
  });

  it('is nothing when there is no file', async () => {
    expect(await readElasticFile(join(root, 'absent.json'), config)).toBeUndefined();
  });

  type Change = (file: Record<string, unknown> & { levels: Record<string, unknown>[] }) => void;
  const wrong: [string, RegExp, Change][] = [
    ['another format', /"elasticlm"/, (file) => (file['format'] = 'other')],
    ['a later version', /version/, (file) => (file['version'] = 2)],
    ['no levels', /levels/, (file) => (file.levels = [])],
    ['no level 1', /levels\[0\]\.level/, (file) => file.levels.shift()],
    [
      'levels that rise',
      /levels\[2\]\.level/,
      (file) => file.levels.reverse().unshift(whole.levels[0] as never),
    ],
    ['a level twice', /levels\[2\]\.level/, (file) => (file.levels[2]!['level'] = 0.5)],
    ['a level of 0', /above 0/, (file) => (file.levels[2]!['level'] = 0)],
    ['a level 1 that leaves heads out', /keeps everything/, (file) => (file.levels[0]!['heads'] = [4, 3])],
    ['too many layers', /2 layers/, (file) => (file.levels[1]!['heads'] = [3, 1, 1])],
    [
      'more than the level above',
      /levels\[2\]\.neurons\[0\]/,
      (file) => (file.levels[2]!['neurons'] = [1, 0]),
    ],
    ['more than the layer has', /levels\[1\]\.heads\[0\]/, (file) => (file.levels[1]!['heads'] = [5, 1])],
    ['a negative count', /-1/, (file) => (file.levels[1]!['heads'] = [-1, 1])],
    ['half a head', /2\.5/, (file) => (file.levels[1]!['heads'] = [2.5, 1])],
    ['a count in quotes', /"3"/, (file) => (file.levels[1]!['heads'] = ['3', 1])],
    ['half an adapter', /levels\[1\]\.adapter/, (file) => (file.levels[1]!['adapter'] = 0.5)],
    ['a negative adapter', /levels\[1\]\.adapter/, (file) => (file.levels[1]!['adapter'] = -1)],
    ['an unknown pooling', /pooling/, (file) => (file['pooling'] = 'max')],
    ['a normalize that is no boolean', /normalize/, (file) => (file['normalize'] = 'yes')],
    ['more tokens than positions', /max_length/, (file) => (file['max_length'] = 65)],
    [
      'a head twice in a permutation',
      /permutation\.heads\[0\]\[1\]/,
      (file) => (file['permutation'] = { heads: [[3, 3, 0, 2], range(4)], neurons: [range(6), range(6)] }),
    ],
    [
      'a short permutation',
      /permutation\.neurons\[1\]/,
      (file) => (file['permutation'] = { heads: [range(4), range(4)], neurons: [range(6), range(5)] }),
    ],
    [
      'a quality that is no number',
      /by_level/,
      (file) => (file['quality'] = [{ task: 'a', metric: 'b', by_level: { 1: 'good' } }]),
    ],
  ];
  it.each(wrong)('refuses %s, naming the file and the place', async (_, place, change) => {
    const file = JSON.parse(serialiseElasticFile(whole)) as Parameters<Change>[0];
    change(file);
    writeFileSync(path, JSON.stringify(file));
    const error = await expectRejection(readElasticFile(path, config), 'ELASTICLM_ELASTIC_INVALID', place);
    expect(error.message).toContain(path);
    expect(error.message).toMatch(/^expected .* received /);
  });

  it('is checked by the same rules before it is written', () => {
    const nested = { levels: [...whole.levels, { level: 0.1, heads: [1, 0], neurons: [0, 0] }] };
    expectCode(
      () => {
        checkElasticFile(nested, path, config);
      },
      'ELASTICLM_ELASTIC_INVALID',
      /levels\[3\]/,
    );
  });
});
