/** Mutation fuzz: hostile files and hostile arguments end with a coded error or a right result, never otherwise. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticError } from '../../lib/errors.js';
import { ElasticModel, type ForwardOptions } from '../../lib/model/index.js';
import type { PackedBatch } from '../../lib/types.js';
import { randomBatch } from '../support/batches.js';
import {
  configOf,
  evenLevels,
  writeJson,
  writeTinyCheckpoint,
  type TinyCheckpoint,
} from '../support/checkpoint.js';
import { mutateJson } from '../support/mutate.js';
import { Random } from '../support/random.js';
import { range } from '../support/reference-encoder.js';

/** Cases of each target; a long run sets the variable. */
const numCases = Number(process.env['ELASTICLM_FUZZ_CASES'] ?? 500);
const timeoutMs = 60_000 + numCases * 20;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'elasticlm-hostile-'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

/** Settles every case; a failure that is not a coded one is reported with what caused it. */
async function settle(run: () => Promise<void>, describeCase: () => string): Promise<'right' | 'refused'> {
  try {
    await run();
    return 'right';
  } catch (error) {
    if (error instanceof ElasticError && error.code !== 'ELASTICLM_INTERNAL_FAILED') return 'refused';
    throw new Error(`not a coded error for ${describeCase()}`, { cause: error });
  }
}

describe('ElasticModel.load() with hostile files', () => {
  const elastic = { ...evenLevels(configOf(), [0.5]), pooling: 'mean' as const, maxLength: 32 };
  const pooling = { word_embedding_dimension: 32, pooling_mode_mean_tokens: true };
  const targets: [string, TinyCheckpoint, unknown?][] = [
    ['config.json', { labels: 2 }],
    ['elastic.json', { elastic }],
    ['model.safetensors.index.json', { shards: 2 }],
    [
      'modules.json',
      {},
      [
        { idx: 0, path: '', type: 'a.Transformer' },
        { path: 'pool', type: 'a.Pooling' },
      ],
    ],
    ['sentence_bert_config.json', {}, { max_seq_length: 32 }],
    ['tokenizer_config.json', {}],
  ];
  it.each(targets)(
    '%s',
    async (name, checkpoint, content) => {
      const { directory } = writeTinyCheckpoint(join(root, name), checkpoint);
      const path = join(directory, name);
      if (content !== undefined) writeJson(path, content);
      if (name === 'modules.json') writeTinyCheckpoint(join(directory, 'pool'), { config: pooling });
      const original: unknown = JSON.parse(readFileSync(path, 'utf8'));
      const random = new Random(1);
      const outcomes = { right: 0, refused: 0 };
      for (let count = 0; count < numCases; ++count) {
        const text = mutateJson(original, random);
        writeFileSync(path, text);
        const outcome = await settle(
          async () => {
            const model = await ElasticModel.load(directory, { threads: 1 });
            const { maxPositionEmbeddings } = model.config;
            expect(model.checkpoint.maxLength).toBeLessThanOrEqual(maxPositionEmbeddings);
            const batch = randomBatch(model.config, [3], random);
            const { data } = await model.forward(batch, {
              output: 'pooled',
              level: model.levels.at(-1)?.level ?? 1,
            });
            expect(data.every(Number.isFinite)).toBe(true);
            await model.close();
          },
          () => text,
        );
        ++outcomes[outcome];
      }
      expect(outcomes.right + outcomes.refused).toBe(numCases);
      expect(outcomes.refused).toBeGreaterThan(0);
    },
    timeoutMs,
  );
});

describe('ElasticModel.forward() with hostile arguments', () => {
  const integers = [-1, 0, 1, 2, 63, 64, 65, 159, 160, 2 ** 31 - 1, -(2 ** 31)];
  const values: unknown[] = [
    undefined,
    null,
    '',
    'x',
    0.5,
    Number.NaN,
    Infinity,
    {},
    [],
    [1],
    new Int32Array(2),
    ...integers,
  ];

  function hostileBatch(batch: PackedBatch, random: Random): unknown {
    const field = random.pick(['inputIds', 'tokenTypeIds', 'cuSeqlens'] as const);
    const array = batch[field].slice();
    if (random.uniform() < 0.2) return { ...batch, [field]: random.pick(values) };
    if (random.uniform() < 0.2) return { ...batch, [field]: array.slice(random.integer(0, array.length)) };
    array[random.integer(0, array.length - 1)] = random.pick(integers);
    return { ...batch, [field]: array };
  }

  function hostileOptions(random: Random): Record<string, unknown> {
    const list = (): unknown[] => range(random.integer(0, 4)).map(() => random.pick(values));
    const options: Record<string, unknown> = {
      output: random.pick(['hidden', 'pooled', 'pooler', 'logits']),
    };
    const layers = (): unknown => range(2).map(() => (random.uniform() < 0.5 ? list() : random.pick(values)));
    const hostile: Record<string, () => unknown> = {
      output: () => random.pick(values),
      level: () => random.pick<unknown>([list(), random.pick(values), 1, 0.5]),
      structure: () => random.pick<unknown>([{ heads: layers(), neurons: layers() }, random.pick(values)]),
      pooling: () => random.pick(values),
      normalize: () => random.pick(values),
      signal: () => random.pick(values),
    };
    for (const field of Object.keys(hostile)) {
      if (random.uniform() < 0.3) options[field] = hostile[field]?.();
    }
    return options;
  }

  it(
    'batches, levels, structures and outputs',
    async () => {
      const elastic = evenLevels(configOf(), [0.5]);
      const { directory } = writeTinyCheckpoint(join(root, 'arguments'), { elastic, labels: 2 });
      const model = await ElasticModel.load(directory, { threads: 2 });
      const random = new Random(2);
      const outcomes = { right: 0, refused: 0 };
      for (let count = 0; count < numCases; ++count) {
        const honest = randomBatch(model.config, [3, 5], random);
        const batch = random.uniform() < 0.6 ? hostileBatch(honest, random) : honest;
        const options = random.uniform() < 0.6 ? hostileOptions(random) : { output: 'pooled' };
        const outcome = await settle(
          async () => {
            const { data, dims, levels } = await model.forward(
              batch as PackedBatch,
              options as unknown as ForwardOptions,
            );
            const rows =
              options['output'] === 'hidden' ? (batch as PackedBatch).inputIds.length : levels.length;
            expect(data).toHaveLength(rows * dims);
            expect(data.every(Number.isFinite)).toBe(true);
          },
          () => JSON.stringify({ batch, options }),
        );
        ++outcomes[outcome];
      }
      await model.close();
      expect(outcomes.right).toBeGreaterThan(numCases / 20);
      expect(outcomes.refused).toBeGreaterThan(numCases / 20);
    },
    timeoutMs,
  );
});
