/** What precisions have in common, and what each costs: values against f32, bits, memory, refusals. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packBatch } from '../../lib/batch/index.js';
import { ElasticModel, type LoadOptions } from '../../lib/model/index.js';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import type { PackedBatch, Structure } from '../../lib/types.js';
import { randomBatch, sequenceOf } from '../support/batches.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { meanCosine } from '../support/compare.js';
import { defaultModelDirectory } from '../support/default-model.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { range } from '../support/reference-encoder.js';

let root: string;
let directory: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'elasticlm-precision-'));
  directory = writeTinyCheckpoint(root, { elastic: evenLevels(configOf(), [0.5, 0.25]) }).directory;
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const cpuPrecisions = ['f32', 'bf16', 'i8'] as const;
type CpuPrecision = (typeof cpuPrecisions)[number];

const load = (precision: CpuPrecision, options: LoadOptions = {}, from = directory): Promise<ElasticModel> =>
  ElasticModel.load(from, { backend: 'cpu', precision, ...options });

/** Instruction sets of this machine that differ in how they multiply bf16 or bytes. */
async function supportedIsas(): Promise<string[]> {
  const supported: string[] = [];
  for (const isa of ['ref', 'generic', 'avx2', 'avx512', 'avx512bf16']) {
    const model = await withIsa(isa, () => load('bf16')).catch(() => undefined);
    if (model === undefined) continue;
    supported.push(isa);
    await model.close();
  }
  return supported;
}

async function withIsa<T>(isa: string, body: () => Promise<T>): Promise<T> {
  const before = process.env.ELASTICLM_ISA;
  process.env.ELASTICLM_ISA = isa;
  try {
    return await body();
  } finally {
    if (before === undefined) Reflect.deleteProperty(process.env, 'ELASTICLM_ISA');
    else process.env.ELASTICLM_ISA = before;
  }
}

/** The project's error budget: mean cosine of texts' vectors to those of f32. */
const smallestCosine = { bf16: 0.9998, i8: 0.998 } as const;

const texts = [
  'a lazy dog',
  'The quick brown fox jumps over the lazy dog.',
  'Elevated serum homocysteine is a risk factor for cardiovascular disease in patients with diabetes.',
  'What is the boiling point of water at an altitude of 3,000 metres?',
  'Return the index of the first element that is larger than the pivot, or -1 when there is none.',
];

describe.each(['bf16', 'i8'] as const)('ElasticModel in %s', (precision) => {
  it('gives vectors of the default model within the error budget, on every instruction set', async () => {
    await using exact = await load('f32', {}, defaultModelDirectory());
    const tokenizer = await Tokenizer.load(defaultModelDirectory());
    const batch = packBatch(texts.map((text) => tokenizer.encode(text)));
    const expected = await exact.forward(batch, { output: 'pooled' });
    for (const isa of await supportedIsas()) {
      await using model = await withIsa(isa, () => load(precision, {}, defaultModelDirectory()));
      expect(model.info()).toMatchObject({ isa, precision });
      const { data, dims } = await model.forward(batch, { output: 'pooled' });
      expect(data).not.toEqual(expected.data);
      expect(meanCosine(data, expected.data, dims), isa).toBeGreaterThanOrEqual(smallestCosine[precision]);
    }
  });

  it('says what runs, in less memory', async () => {
    await using exact = await load('f32');
    await using model = await load(precision);
    const info = model.info();
    expect(info).toMatchObject({ backend: 'cpu', precision, hasPooler: true });
    expect(info).not.toHaveProperty('backendReason');
    expect(info.weightBytes).toBeLessThan(exact.info().weightBytes);
    expect(model.plan(randomBatch(model.config, [4], new Random(1)))).toContain(`plan: ${precision}`);
  });

  it('keeps a half and a quarter of the bytes of linear weights', async () => {
    const sizes = [];
    for (const each of ['f32', precision] as const) {
      await using model = await load(each, {}, defaultModelDirectory());
      sizes.push(model.info().weightBytes);
    }
    const [inF32 = 0, own = 0] = sizes;
    // Scales, biases, LayerNorms and the pooler, which stay f32, are less than 2% of MiniLM's linear weights but for the
    // pooler of 384 x 384.
    const { hiddenSize } = configOf({ heads: 12, headDim: 32 });
    const pooler = 4 * hiddenSize * hiddenSize;
    const share = (own - pooler) / (inF32 - pooler);
    expect(share).toBeGreaterThanOrEqual(precision === 'bf16' ? 0.5 : 0.25);
    expect(share).toBeLessThan(precision === 'bf16' ? 0.52 : 0.27);
  });

  it('does not measure activations, which it rounds', async () => {
    await using model = await load(precision);
    const batch = randomBatch(model.config, [4], new Random(2));
    await expectRejection(model.calibrate(batch), 'ELASTICLM_PRECISION_UNSUPPORTED', /'f32'/);
    expect((await model.forward(batch, { output: 'pooled' })).dims).toBe(model.config.hiddenSize);
  });
});

describe.each(cpuPrecisions)('ElasticModel.forward() in %s', (precision) => {
  it('gives the same bits alone, in mixed batches, in any order and with other threads', async () => {
    const models = [
      await load(precision, { threads: 1 }),
      await load(precision, { threads: 2 }),
      await load(precision, { threads: 3 }),
    ] as const;
    const random = new Random(5);
    for (let trial = 0; trial < 40; ++trial) {
      const several = range(random.integer(1, 8)).map(() => random.integer(1, 40));
      const batch = randomBatch(models[0].config, several, random);
      const level = several.map(() => random.pick([1, 0.5, 0.25]));
      const together = await random.pick(models).forward(batch, { output: 'hidden', level });
      const chosen = random.integer(0, several.length - 1);
      const single = await random
        .pick(models)
        .forward(alone(batch, chosen), { output: 'hidden', level: level[chosen] ?? 1 });
      const begin = (batch.cuSeqlens[chosen] ?? 0) * together.dims;
      expect(single.data).toEqual(together.data.slice(begin, begin + single.data.length));
    }
    await Promise.all(models.map((model) => model.close()));
  });

  it('gives every output, and finite ones', async () => {
    const { directory: labelled } = writeTinyCheckpoint(join(root, `labels-${precision}`), { labels: 3 });
    await using model = await load(precision, {}, labelled);
    const batch = randomBatch(model.config, [1, 7, 20], new Random(3));
    const nothing: Structure = {
      heads: Array<number>(model.config.numLayers).fill(0),
      neurons: Array<number>(model.config.numLayers).fill(0),
    };
    for (const output of ['hidden', 'pooled', 'pooler', 'logits'] as const) {
      for (const choice of [{}, { structure: nothing }]) {
        const { data, dims } = await model.forward(batch, { output, ...choice });
        expect(data).toHaveLength(dims * (output === 'hidden' ? 28 : 3));
        expect(data.every(Number.isFinite)).toBe(true);
      }
    }
  });

  it('runs 100 calls at once', async () => {
    await using model = await load(precision, { threads: 2 });
    const random = new Random(6);
    const batches = range(100).map(() => randomBatch(model.config, [random.integer(1, 30)], random));
    const together = await Promise.all(batches.map((batch) => model.forward(batch, { output: 'pooled' })));
    for (const [position, batch] of batches.entries()) {
      expect(together[position]).toEqual(await model.forward(batch, { output: 'pooled' }));
    }
  });
});

describe('ElasticModel.load(): which precision', () => {
  it("computes f32 on the cpu for 'auto'", async () => {
    for (const options of [{}, { precision: 'auto' }] satisfies LoadOptions[]) {
      await using model = await ElasticModel.load(directory, { backend: 'cpu', ...options });
      expect(model.info().precision).toBe('f32');
    }
  });

  it("computes i8 on the cpu for backend 'auto', and says why", async () => {
    await using model = await ElasticModel.load(directory, { backend: 'auto', precision: 'i8' });
    expect(model.info()).toMatchObject({ backend: 'cpu', precision: 'i8' });
    expect(model.info().backendReason).toMatch(/'i8'/);
  });

  it.each([
    [{ backend: 'cpu', precision: 'f16' }, /'bf16' or 'i8'/],
    [{ backend: 'cuda', precision: 'i8' }, /'f16'/],
    [{ backend: 'auto', precision: 'f64' as never }, /'i8'/],
    [{ backend: 'cpu', precision: 8 as never }, /precision/],
  ] as [LoadOptions, RegExp][])('refuses %j', async (options, message) => {
    await expectRejection(ElasticModel.load(directory, options), 'ELASTICLM_PRECISION_UNSUPPORTED', message);
  });
});

function alone(batch: PackedBatch, sequence: number): PackedBatch {
  const tokens = sequenceOf(batch, sequence);
  return { ...tokens, cuSeqlens: Int32Array.of(0, tokens.inputIds.length) };
}
