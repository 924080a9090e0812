/** Importance by gradients: the mean of absolute batch gradients, and checkpoints ranked by it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MaskGradients } from '../../lib/binding/index.js';
import {
  elasticize,
  ElasticModel,
  importanceBatches,
  loadTextPairs,
  Tokenizer,
  type ImportanceLoss,
  type MaskGradientOptions,
  type TrainBatch,
} from '../../lib/index.js';
import { meanMaskGradients } from '../../lib/structure/index.js';
import { randomBatch } from '../support/batches.js';
import { configOf, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';

const config = configOf();

function batchOf(lengths: readonly number[], seed: number, more: Partial<TrainBatch> = {}): TrainBatch {
  return { batch: randomBatch(config, [...lengths], new Random(seed)), ...more };
}

describe('meanMaskGradients()', () => {
  /** Gives one gradient after the other. */
  function trainerOf(gradients: MaskGradients[]): { maskGradients: () => Promise<MaskGradients> } {
    let call = 0;
    return { maskGradients: () => Promise.resolve(gradients[call++]!) };
  }

  it("is the mean over batches of each batch's absolute gradient", async () => {
    const trainer = trainerOf([
      { heads: Float64Array.of(1, -2), neurons: Float64Array.of(0.5, 0, -3) },
      { heads: Float64Array.of(-3, -2), neurons: Float64Array.of(-0.5, 1, 3) },
    ]);
    const seen: number[] = [];
    const batches = [batchOf([3, 4, 5], 1), batchOf([3, 3, 3, 3], 2, { numQueries: 2 })];
    const measured = await meanMaskGradients({
      trainer,
      batches,
      objective: {},
      onProgress: (examples) => seen.push(examples),
    });
    expect(measured).toEqual({
      heads: Float64Array.of(2, 2),
      neurons: Float64Array.of(0.5, 0.5, 3),
      examples: 3 + 2,
      tokens: 12 + 12,
    });
    expect(seen).toEqual([3, 5]);
  });

  it('needs a batch, and stops when told to', async () => {
    const trainer = trainerOf([]);
    await expectRejection(
      meanMaskGradients({ trainer, batches: [], objective: {} }),
      'ELASTICLM_ARGUMENT_INVALID',
      /at least one batch/,
    );
    await expectRejection(
      meanMaskGradients({
        trainer,
        batches: [batchOf([3], 1)],
        objective: {},
        signal: AbortSignal.abort(),
      }),
      'ELASTICLM_CALL_ABORTED',
    );
  });
});

/** A loss, the labels of its classifier, and what it compares against. */
type LossCase = [ImportanceLoss, number, (batch: TrainBatch, random: Random) => TrainBatch];

describe("elasticize({ importance: 'mask-gradient' })", () => {
  let folder: string;
  let model: string;
  let output: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'elasticlm-gradients-'));
    model = join(folder, 'plain');
    output = join(folder, 'elastic');
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  const passages = Array.from({ length: 60 }, (_, idx) => ({
    title: `the fox ${idx}`,
    text: `A quick brown fox jumps ${idx}. The city of a river is lazy ${idx * 3}.`,
  }));

  async function contrastive(): Promise<MaskGradientOptions> {
    const data = await loadTextPairs(passages, await Tokenizer.load(model), { maxLength: 32 });
    return {
      importance: 'mask-gradient',
      loss: 'contrastive',
      batches: importanceBatches(data, { maxTokens: 400 }),
    };
  }

  it('writes nested levels, the same ones at any number of threads, and says how', async () => {
    writeTinyCheckpoint(model);
    const result = await elasticize({
      ...(await contrastive()),
      model,
      output,
      levels: [0.5, 0.25],
      seed: 3,
    });
    expect(result.examples).toBe(passages.length);
    const file = JSON.parse(await readFile(join(output, 'elastic.json'), 'utf8')) as Record<string, unknown>;
    expect(file['importance']).toEqual({
      method: 'mask-gradient',
      loss: 'contrastive',
      examples: passages.length,
      seed: 3,
    });
    await using elastic = await ElasticModel.load(output);
    expect(elastic.levels.map(({ level }) => level)).toEqual([1, 0.5, 0.25]);
    const again = join(folder, 'again');
    await elasticize({
      ...(await contrastive()),
      model,
      output: again,
      levels: [0.5, 0.25],
      seed: 3,
      threads: 1,
    });
    expect(await readFile(join(again, 'elastic.json'), 'utf8')).toBe(
      await readFile(join(output, 'elastic.json'), 'utf8'),
    );
  });

  it.each<LossCase>([
    [
      'classification',
      3,
      (batch, random) => ({ ...batch, labels: Int32Array.from({ length: 4 }, () => random.integer(0, 2)) }),
    ],
    ['regression', 1, (batch) => ({ ...batch, targets: Float32Array.of(0, 1, 2, 3) })],
    [
      'ranking',
      1,
      (batch) => ({ ...batch, cuLists: Int32Array.of(0, 2, 4), relevance: Float32Array.of(1, 0, 0, 1) }),
    ],
  ])('ranks by the task’s own loss: %s', async (loss, labels, target) => {
    writeTinyCheckpoint(model, { labels });
    const batches = [1, 2].map((seed) => target(batchOf([5, 7, 9, 4], seed), new Random(seed)));
    await elasticize({ importance: 'mask-gradient', loss, batches, model, output, levels: [0.5] });
    const file = JSON.parse(await readFile(join(output, 'elastic.json'), 'utf8')) as Record<string, unknown>;
    expect(file['importance']).toMatchObject({ method: 'mask-gradient', loss });
  });

  it('refuses a loss whose head is not there, and one that there is not', async () => {
    writeTinyCheckpoint(model);
    const batches = [batchOf([5], 1, { labels: Int32Array.of(0) })];
    const options = { importance: 'mask-gradient' as const, batches, model, output };
    await expectRejection(
      elasticize({ ...options, loss: 'classification' as const }),
      'ELASTICLM_CONFIG_INVALID',
    );
    await expectRejection(
      elasticize({ ...options, loss: 'relation' as 'mlm' }),
      'ELASTICLM_ARGUMENT_INVALID',
      /loss/,
    );
  });
});
