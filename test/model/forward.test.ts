import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticModel, type ForwardOptions } from '../../lib/model/index.js';
import type { Level, PackedBatch, Structure } from '../../lib/types.js';
import { randomBatch, sequenceOf } from '../support/batches.js';
import { evenLevels, configOf, writeTinyCheckpoint, type TinyCheckpoint } from '../support/checkpoint.js';
import { expectClose, worstElement } from '../support/compare.js';
import { defaultModelDirectory } from '../support/default-model.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { range, ReferenceEncoder, type KeptParts } from '../support/reference-encoder.js';
import { referenceOutput } from '../support/reference-output.js';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'elasticlm-forward-'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const lengths = [1, 2, 3, 7, 16, 17, 33, 64];

async function withModel(
  name: string,
  checkpoint: TinyCheckpoint,
  body: (model: ElasticModel, reference: ReferenceEncoder) => Promise<void>,
): Promise<void> {
  const { directory } = writeTinyCheckpoint(join(root, name), checkpoint);
  const model = await ElasticModel.load(directory, { threads: 2 });
  try {
    await body(model, ReferenceEncoder.load(directory));
  } finally {
    await model.close();
  }
}

/**
 * The library's result against float64. The tolerance is twice the worst error of the same computation in float32 in its
 * most naive order.
 */
async function expectReference(
  model: ElasticModel,
  reference: ReferenceEncoder,
  batch: PackedBatch,
  options: ForwardOptions,
  kept: (sequence: number) => KeptParts = () => reference.everything(),
): Promise<void> {
  const { data, dims } = await model.forward(batch, options);
  const expected = referenceOutput(reference, batch, options, kept);
  const naive = referenceOutput(reference.in('f32'), batch, options, kept);
  expectClose(data, expected, 2 * worstElement(naive, expected).error, dims);
}

const prefix = (counts: Pick<Level, 'heads' | 'neurons' | 'adapter'>): KeptParts => ({
  heads: counts.heads.map(range),
  neurons: counts.neurons.map(range),
  ...(counts.adapter === undefined ? {} : { adapter: counts.adapter }),
});

describe('ElasticModel.forward() against float64', () => {
  const outputs: ForwardOptions[] = [
    { output: 'hidden' },
    { output: 'pooled', pooling: 'mean', normalize: true },
    { output: 'pooled', pooling: 'mean' },
    { output: 'pooled', pooling: 'cls' },
    { output: 'pooler' },
    { output: 'logits' },
  ];
  it('gives every output', async () => {
    await withModel('outputs', { labels: 3 }, async (model, reference) => {
      const batch = randomBatch(model.config, lengths, new Random(1));
      for (const options of outputs) await expectReference(model, reference, batch, options);
    });
  });

  const forms: [string, TinyCheckpoint][] = [
    ['F16', { dtype: 'F16' }],
    ['BF16', { dtype: 'BF16' }],
    ['bert. prefix', { prefix: 'bert.', labels: 1 }],
    ['three shards', { shards: 3, prefix: 'bert.', dtype: 'BF16' }],
    ['another file name', { fileName: 'model.fp16.safetensors', dtype: 'F16' }],
    ['one layer, one head of 64', { layers: 1, heads: 1, headDim: 64, neurons: 17 }],
    ['heads of 24', { heads: 3, headDim: 24, neurons: 100 }],
    ['heads of 32', { heads: 2, headDim: 32, neurons: 128, layers: 3 }],
    ['one neuron', { neurons: 1 }],
  ];
  it.each(forms)('reads and runs a checkpoint with %s', async (name, checkpoint) => {
    await withModel(name.replaceAll(' ', '-'), checkpoint, async (model, reference) => {
      const batch = randomBatch(model.config, lengths, new Random(2));
      await expectReference(model, reference, batch, { output: 'hidden' });
    });
  });

  it('runs explicit structures: prefixes, lists, layers that keep nothing', async () => {
    await withModel('structures', { layers: 3 }, async (model, reference) => {
      const random = new Random(3);
      const { numHeads, intermediateSize, numLayers } = model.config;
      const numBlocks = Math.ceil(intermediateSize / 16);
      for (let trial = 0; trial < 12; ++trial) {
        const structure: Structure = {
          heads: range(numLayers).map(() =>
            random.uniform() < 0.5 ? random.integer(0, numHeads) : random.subset(numHeads),
          ),
          neurons: range(numLayers).map(() =>
            random.uniform() < 0.5 ? random.integer(0, intermediateSize) : random.subset(numBlocks),
          ),
        };
        const kept: KeptParts = {
          heads: structure.heads.map((heads) => (typeof heads === 'number' ? range(heads) : heads)),
          neurons: structure.neurons.map((neurons) =>
            typeof neurons === 'number'
              ? range(neurons)
              : range(intermediateSize).filter((neuron) => neurons.includes(Math.floor(neuron / 16))),
          ),
        };
        const batch = randomBatch(model.config, [5, 20], random);
        await expectReference(model, reference, batch, { output: 'hidden', structure }, () => kept);
      }
    });
  });

  it('runs each sequence of a batch at its own level', async () => {
    const elastic = evenLevels(configOf(), [0.5, 0.25, 0.1]);
    await withModel('levels', { elastic }, async (model, reference) => {
      const random = new Random(4);
      const level = lengths.map(() => random.pick([1, 0.5, 0.25, 0.1]));
      const batch = randomBatch(model.config, lengths, random);
      await expectReference(model, reference, batch, { output: 'hidden', level }, (sequence) => {
        const counts = model.levels.find((candidate) => candidate.level === level[sequence]);
        if (counts === undefined) throw new Error('a level that the checkpoint does not hold');
        return prefix(counts);
      });
      expect((await model.forward(batch, { output: 'pooled', level })).levels).toEqual(level);
    });
  });

  it('sends the pooled vectors of a level through its adapter, and no others', async () => {
    const { levels } = evenLevels(configOf(), [0.5, 0.25]);
    const elastic = {
      levels: levels.map((level, idx) => (idx === 0 ? level : { ...level, adapter: 2 - idx })),
    };
    await withModel('adapters', { elastic }, async (model, reference) => {
      const random = new Random(5);
      const level = lengths.map(() => random.pick([1, 0.5, 0.25]));
      const batch = randomBatch(model.config, lengths, random);
      const kept = (sequence: number): KeptParts =>
        prefix(model.levels.find((candidate) => candidate.level === level[sequence])!);
      const pooled = { output: 'pooled', level } as const;
      for (const options of [
        pooled,
        { ...pooled, normalize: true },
        { ...pooled, pooling: 'cls', normalize: true },
      ] satisfies ForwardOptions[]) {
        await expectReference(model, reference, batch, options, kept);
      }
      await expectReference(model, reference, batch, { output: 'hidden', level }, kept);
      const { heads, neurons } = model.levels[1]!;
      const structure = { output: 'pooled', structure: { heads, neurons } } as const;
      await expectReference(model, reference, batch, structure, () => prefix({ heads, neurons }));
    });
  });

  it('gives the same bits beside sequences with adapters', async () => {
    const { levels } = evenLevels(configOf(), [0.5]);
    const elastic = { levels: [levels[0]!, { ...levels[1]!, adapter: 0 }] };
    await withModel('adapter-bits', { elastic }, async (model) => {
      const batch = randomBatch(model.config, lengths, new Random(6));
      const level = lengths.map((_, idx) => (idx % 2 === 0 ? 1 : 0.5));
      const options = { output: 'pooled', normalize: true } as const;
      const mixed = await model.forward(batch, { ...options, level });
      for (const one of [1, 0.5]) {
        const same = await model.forward(batch, { ...options, level: one });
        for (const [idx, ofSequence] of level.entries()) {
          if (ofSequence !== one) continue;
          const row = [idx * mixed.dims, (idx + 1) * mixed.dims] as const;
          expect(mixed.data.slice(...row)).toEqual(same.data.slice(...row));
        }
      }
    });
  });
});

describe('ElasticModel.forward() of all-MiniLM-L6-v2', () => {
  it('gives the published vector of "This is an example sentence", and the float64 one', async () => {
    const directory = defaultModelDirectory();
    const model = await ElasticModel.load(directory);
    const reference = ReferenceEncoder.load(directory);
    const inputIds = Int32Array.of(101, 2023, 2003, 2019, 2742, 6251, 102);
    const batch = { inputIds, tokenTypeIds: new Int32Array(7), cuSeqlens: Int32Array.of(0, 7) };
    const options = { output: 'pooled', pooling: 'mean', normalize: true } as const;
    const { data } = await model.forward(batch, options);
    expect([...data.slice(0, 3)].map((value) => value.toFixed(5))).toEqual(['0.06766', '0.06356', '0.04873']);
    await expectReference(model, reference, batch, options);
    await expectReference(model, reference, batch, { output: 'hidden' });
    await model.close();
  });
});

describe('ElasticModel.forward()', () => {
  it('gives the same bits alone, in mixed batches and with other threads', async () => {
    const elastic = evenLevels(configOf(), [0.5, 0.25]);
    const { directory } = writeTinyCheckpoint(join(root, 'bits'), { elastic });
    const models = [
      await ElasticModel.load(directory, { threads: 1 }),
      await ElasticModel.load(directory, { threads: 2 }),
    ] as const;
    const random = new Random(5);
    for (let trial = 0; trial < 40; ++trial) {
      const several = range(random.integer(1, 8)).map(() => random.integer(1, 40));
      const batch = randomBatch(models[0].config, several, random);
      const level = several.map(() => random.pick([1, 0.5, 0.25]));
      const together = await random.pick(models).forward(batch, { output: 'hidden', level });
      const chosen = random.integer(0, several.length - 1);
      const alone = { ...sequenceOf(batch, chosen), cuSeqlens: Int32Array.of(0, several[chosen] ?? 0) };
      const single = await random
        .pick(models)
        .forward(alone, { output: 'hidden', level: level[chosen] ?? 1 });
      const begin = (batch.cuSeqlens[chosen] ?? 0) * together.dims;
      expect(single.data).toEqual(together.data.slice(begin, begin + single.data.length));
    }
    await Promise.all(models.map((model) => model.close()));
  });

  it('gives an empty result for an empty batch', async () => {
    await withModel('empty', {}, async (model) => {
      const none = new Int32Array(0);
      const batch = { inputIds: none, tokenTypeIds: none, cuSeqlens: Int32Array.of(0) };
      for (const output of ['hidden', 'pooled', 'pooler'] as const) {
        expect(await model.forward(batch, { output })).toEqual({
          data: new Float32Array(0),
          dims: model.config.hiddenSize,
          levels: [],
        });
      }
    });
  });

  it('runs 300 calls at once and answers each with its own result', async () => {
    await withModel('many', {}, async (model) => {
      const random = new Random(6);
      const batches = range(300).map(() => randomBatch(model.config, [random.integer(1, 30)], random));
      const together = await Promise.all(batches.map((batch) => model.forward(batch, { output: 'pooled' })));
      for (const [position, batch] of batches.entries()) {
        expect(together[position]).toEqual(await model.forward(batch, { output: 'pooled' }));
      }
    });
  });

  it('refuses logits and pooler output of a checkpoint without those weights', async () => {
    await withModel('bare', { pooler: false }, async (model) => {
      const batch = randomBatch(model.config, [4], new Random(7));
      await expectRejection(model.forward(batch, { output: 'logits' }), 'ELASTICLM_CONFIG_INVALID');
      await expectRejection(model.forward(batch, { output: 'pooler' }), 'ELASTICLM_CONFIG_INVALID');
    });
  });
});

describe('ElasticModel.calibrate()', () => {
  it('sums context norms and absolute activations, the same bits with any number of threads', async () => {
    const { directory, config } = writeTinyCheckpoint(join(root, 'calibrate'));
    const batch = randomBatch(config, [5, 30, 64, 2], new Random(8));
    const sums = [];
    for (const threads of [1, 2]) {
      const model = await ElasticModel.load(directory, { threads });
      sums.push(await model.calibrate(batch));
      await model.close();
    }
    expect(sums[0]).toEqual(sums[1]);
    expect(sums[0]?.numTokens).toBe(101);
    expect(sums[0]?.heads).toHaveLength(config.numLayers * config.numHeads);
    expect(sums[0]?.neurons.every((sum) => sum > 0)).toBe(true);
  });
});
