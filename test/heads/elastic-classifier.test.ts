import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticClassifier } from '../../lib/heads/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';

let folder: string;
let classifier: ElasticClassifier;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-classifier-'));
  const directory = join(folder, 'tiny');
  writeTinyCheckpoint(directory, { labels: 3, elastic: evenLevels(configOf(), [0.5]) });
  classifier = await ElasticClassifier.load(directory);
});

afterAll(async () => {
  await classifier.close();
  await rm(folder, { recursive: true });
});

describe('ElasticClassifier.classify()', () => {
  const inputs = ['the quick fox', ['a lazy dog', 'jumps'], ''] as const;

  it('gives the softmax of the logits, and the label of the largest', async () => {
    for (const level of [1, 0.5]) {
      const { data, dims } = await classifier.logits(inputs, { level });
      expect(dims).toBe(3);
      for (const [idx, result] of (await classifier.classify(inputs, { level })).entries()) {
        const powers = [0, 1, 2].map((label) => Math.exp(data[idx * 3 + label]!));
        const total = powers.reduce((sum, power) => sum + power, 0);
        // a few roundings of f64 in each
        result.scores.forEach((score, label) => expect(score).toBeCloseTo(powers[label]! / total, 14));
        expect(result.score).toBe(Math.max(...result.scores));
        expect(result.label).toBe(`label-${result.scores.indexOf(result.score)}`);
      }
    }
  });

  it('reads a pair as one sequence of two texts', async () => {
    const [pair] = await classifier.classify([['a lazy dog', 'jumps']]);
    const [joined] = await classifier.classify(['a lazy dog jumps']);
    expect(pair!.scores).not.toEqual(joined!.scores);
  });

  it('gives nothing for nothing', async () => {
    expect(await classifier.classify([])).toEqual([]);
  });

  it('names the position of what is neither a text nor a pair', async () => {
    for (const wrong of [1, ['a'], ['a', 'b', 'c'], ['a', 2], undefined]) {
      const run = classifier.classify(['a', wrong as unknown as string]);
      await expectRejection(run, 'ELASTICLM_ARGUMENT_INVALID', /text 1/);
    }
    await expectRejection(
      classifier.classify('a' as unknown as string[]),
      'ELASTICLM_ARGUMENT_INVALID',
      /input/,
    );
  });
});

describe('ElasticClassifier.load()', () => {
  it('refuses a checkpoint without a classifier, or with one label', async () => {
    const directory = join(folder, 'plain');
    writeTinyCheckpoint(directory);
    await expectRejection(ElasticClassifier.load(directory), 'ELASTICLM_HEAD_MISSING', /none/);
    const one = join(folder, 'one');
    writeTinyCheckpoint(one, { labels: 1 });
    await expectRejection(ElasticClassifier.load(one), 'ELASTICLM_HEAD_MISSING', /ElasticRanker/);
  });
});
