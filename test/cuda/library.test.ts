/**
 * The whole way from a text to its vector through the cuda backend's own library. Its kernels are run by the emulator in the
 * place of a GPU, or by a GPU: test/support/cuda-library.ts. Without a library these tests are left out.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { packBatch } from '../../lib/batch/index.js';
import { findCudaLibrary, NativeModel, type DevicePath } from '../../lib/binding/index.js';
import { ElasticModel, type ForwardOptions, type LoadOptions } from '../../lib/model/index.js';
import { Tokenizer } from '../../lib/tokenizer/index.js';
import type { Structure } from '../../lib/types.js';
import { randomBatch } from '../support/batches.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectClose, worstCosine, worstElement } from '../support/compare.js';
import { deviceLibrary, whyNoDeviceLibrary, withEnvironment } from '../support/cuda-library.js';
import { defaultModelDirectory } from '../support/default-model.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { range, ReferenceEncoder } from '../support/reference-encoder.js';
import { referenceOutput } from '../support/reference-output.js';
import { runProcess } from '../support/run-process.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 60_000 });

const shape = { layers: 2, heads: 4, headDim: 32, neurons: 72, labels: 3 };
let folder: string;
let directory: string;
let smallest: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'elasticlm-cuda-library-'));
  const elastic = evenLevels(configOf(shape), [0.5, 0.25]);
  directory = writeTinyCheckpoint(join(folder, 'model'), { ...shape, elastic }).directory;
  smallest = writeTinyCheckpoint(join(folder, 'smallest'), {
    layers: 1,
    heads: 1,
    headDim: 32,
    neurons: 16,
  }).directory;
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function load(options: LoadOptions = {}, from = directory): Promise<ElasticModel> {
  return withEnvironment({ ELASTICLM_CUDA_LIBRARY: deviceLibrary }, () =>
    ElasticModel.load(from, { backend: 'cuda', ...options }),
  );
}

/** What 16 bits cost at most: 8 and 11 bits of mantissa. */
const smallestCosine = { bf16: 0.9995, f16: 0.99995 } as const;

const missing = whyNoDeviceLibrary();
const title = `backend 'cuda'${missing === undefined ? '' : ` (left out: ${missing})`}`;

describe.skipIf(missing)(title, () => {
  it.each(['bf16', 'f16'] as const)('gives the vectors of the default model in %s', async (precision) => {
    await using cpu = await ElasticModel.load(defaultModelDirectory(), { backend: 'cpu' });
    await using cuda = await load({ precision }, defaultModelDirectory());
    const tokenizer = await Tokenizer.load(defaultModelDirectory());
    const batch = packBatch(['a lazy dog', 'the quick fox'].map((text) => tokenizer.encode(text)));
    const { numLayers } = cpu.config;
    const half: Structure = {
      heads: Array<number>(numLayers).fill(6),
      neurons: Array<number>(numLayers).fill(768),
    };
    for (const choice of [{ level: 1 }, { structure: half }]) {
      const expected = await cpu.forward(batch, { output: 'pooled', ...choice });
      const { data, dims } = await cuda.forward(batch, { output: 'pooled', ...choice });
      expect(worstCosine(data, expected.data, dims)).toBeGreaterThanOrEqual(smallestCosine[precision]);
    }
  });

  it('gives every output in f32 as near to float64 as the cpu must', async () => {
    await using cuda = await load({ precision: 'f32' });
    const reference = ReferenceEncoder.load(directory);
    const batch = randomBatch(cuda.config, [1, 5, 17], new Random(1));
    const outputs: ForwardOptions[] = [
      { output: 'hidden' },
      { output: 'pooled', pooling: 'mean', normalize: true },
      { output: 'pooled', pooling: 'cls', normalize: false },
      { output: 'pooler' },
      { output: 'logits' },
    ];
    for (const options of outputs) {
      const { data, dims } = await cuda.forward(batch, options);
      const exact = referenceOutput(reference, batch, options);
      const naive = referenceOutput(reference.in('f32'), batch, options);
      expectClose(data, exact, 2 * worstElement(naive, exact).error, dims);
    }
  });

  it.each(['reference', 'mma', 'wgmma', 'small'] satisfies DevicePath[])(
    'gives mixed levels and lists of what is kept on the path %s',
    async (path) => {
      await using cpu = await ElasticModel.load(directory, { backend: 'cpu' });
      const native = await withEnvironment({ ELASTICLM_CUDA_LIBRARY: deviceLibrary }, () =>
        NativeModel.load({
          paths: cpu.checkpoint.files,
          config: cpu.config,
          structures: cpu.levels,
          adapterIdx: new Int32Array(cpu.levels.length).fill(-1),
          threads: 1,
          cuda: { library: findCudaLibrary(), device: 0, precision: 'bf16', path },
        }),
      );
      const batch = randomBatch(cpu.config, [9, 1, 20, 3], new Random(2));
      const dims = cpu.config.hiddenSize;
      const forward = async (
        spec: { structureIdx: Int32Array; structures?: Structure[] },
        options: Pick<ForwardOptions, 'level' | 'structure'>,
      ): Promise<void> => {
        const out = new Float32Array(4 * dims);
        await native.forward({ batch, output: 'pooled', pooling: 'mean', normalize: false, out, ...spec });
        const expected = await cpu.forward(batch, { output: 'pooled', pooling: 'mean', ...options });
        expect(worstCosine(out, expected.data, dims)).toBeGreaterThanOrEqual(smallestCosine.bf16);
      };
      await forward({ structureIdx: Int32Array.of(2, 0, 1, 0) }, { level: [0.25, 1, 0.5, 1] });
      const structure: Structure = { heads: [[1, 3], 0], neurons: [[0, 2, 4], 72] };
      await forward({ structureIdx: new Int32Array(4), structures: [structure] }, { structure });
      await native.close();
    },
  );

  it('sends pooled vectors through adapters, whatever else is in the batch', async () => {
    const { levels } = evenLevels(configOf(shape), [0.5]);
    const elastic = { levels: [levels[0]!, { ...levels[1]!, adapter: 0 }] };
    const adapted = writeTinyCheckpoint(join(folder, 'adapted'), { ...shape, elastic }).directory;
    await using cpu = await ElasticModel.load(adapted, { backend: 'cpu' });
    await using cuda = await load({ precision: 'bf16' }, adapted);
    const batch = randomBatch(cpu.config, [4, 9, 2], new Random(7));
    const options = { output: 'pooled', normalize: true, level: [1, 0.5, 0.5] } as const;
    const expected = await cpu.forward(batch, options);
    const { data, dims } = await cuda.forward(batch, options);
    expect(worstCosine(data, expected.data, dims)).toBeGreaterThanOrEqual(smallestCosine.bf16);
  });

  it('says what runs', async () => {
    await using model = await load({ threads: 3 });
    expect(model.info()).toMatchObject({
      backend: 'cuda',
      precision: 'bf16',
      threads: 3,
      mappedBytes: 0,
      numLabels: 3,
      hasPooler: true,
      device: { idx: 0, emulated: deviceLibrary.includes('emulated') },
    });
    expect(model.info().isa).toMatch(/^sm_\d+$/);
    expect(model.info().weightBytes).toBeGreaterThan(0);
    await model.forward(randomBatch(model.config, [3], new Random(3)), { output: 'pooled' });
    expect(model.info().arenaBytes).toBeGreaterThan(0);
    expect(model.plan(randomBatch(model.config, [3], new Random(3)))).not.toBe('');
  });

  it('refuses a device that there is not, and passes it over with auto', async () => {
    await expectRejection(load({ device: 99 }), 'ELASTICLM_BACKEND_UNAVAILABLE', /99/);
    await using model = await load({ backend: 'auto', device: 99 });
    expect(model.info()).toMatchObject({ backend: 'cpu' });
    expect(model.info().backendReason).toMatch(/99/);
  });

  it('refuses logits of a checkpoint without a classifier, and runs no forward of no text', async () => {
    await using model = await load({}, smallest);
    const batch = randomBatch(model.config, [3], new Random(4));
    await expectRejection(model.forward(batch, { output: 'logits' }), 'ELASTICLM_CONFIG_INVALID');
    const empty = await model.forward(randomBatch(model.config, [], new Random(4)), { output: 'pooled' });
    expect(empty.data).toHaveLength(0);
  });

  it('keeps the results of other calls while some are aborted', async () => {
    await using model = await load({}, smallest);
    const batch = randomBatch(model.config, [4], new Random(5));
    const expected = await model.forward(batch, { output: 'hidden' });
    const calls = range(12).map(async (position) => {
      const controller = new AbortController();
      const call = model.forward(batch, { output: 'hidden', signal: controller.signal });
      if (position % 2 === 0) {
        setTimeout(() => {
          controller.abort();
        }, position);
      }
      const settled = await call.then(
        (result) => result,
        (error: unknown) => error,
      );
      if (position % 2 === 1) expect(settled).toEqual(expected);
      else if (settled instanceof Error) expect(settled).toMatchObject({ code: 'ELASTICLM_CALL_ABORTED' });
      else expect(settled).toEqual(expected);
    });
    await Promise.all(calls);
  });

  it('leaves the event loop alone, and finishes the forwards in flight before it closes', async () => {
    const model = await load();
    const batch = randomBatch(model.config, [64, 64], new Random(6));
    const order: string[] = [];
    let turns = 0;
    const timer = setInterval(() => ++turns, 1);
    const calls = range(2).map((position) =>
      model.forward(batch, { output: 'pooled' }).then(() => order.push(`forward ${position}`)),
    );
    await model.close();
    clearInterval(timer);
    order.push('close');
    await Promise.all(calls);
    expect(order.slice(0, 2).sort()).toEqual(['forward 0', 'forward 1']);
    expect(order[2]).toBe('close');
    expect(turns).toBeGreaterThan(10);
    await expectRejection(model.forward(batch, { output: 'pooled' }), 'ELASTICLM_MODEL_CLOSED');
  });

  it('lets worker_threads end in any way while busy', async () => {
    const program = fileURLToPath(new URL('../binding/programs/workers.ts', import.meta.url));
    const env = { ...process.env, ELASTICLM_CUDA_LIBRARY: deviceLibrary, ELASTICLM_BACKEND: 'cuda' };
    const args = ['--import', import.meta.resolve('tsx'), program, smallest];
    const { code, signal, stdout, stderr } = await runProcess(process.execPath, args, { env });
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ unchanged: true });
  });
});
