/** How a backend is chosen, found and refused, and what crosses to its library: on any machine, without a GPU. */
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { findPackage } from '../../lib/binding/index.js';
import type { ErrorCode } from '../../lib/errors.js';
import { ElasticModel, type LoadOptions } from '../../lib/model/index.js';
import type { Structure } from '../../lib/types.js';
import { randomBatch } from '../support/batches.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import {
  buildLibrary,
  fakeDevices,
  fakeSource,
  whyNoCompiler,
  withEnvironment,
} from '../support/cuda-library.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { runCli, runCliForJson } from '../support/run-cli.js';
import { runProcess } from '../support/run-process.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const shape = { layers: 2, heads: 4, headDim: 32, neurons: 72 };
let folder: string;
let directory: string;
let smallHeads: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'elasticlm-cuda-'));
  const elastic = evenLevels(configOf(shape), [0.5]);
  directory = writeTinyCheckpoint(join(folder, 'model'), { ...shape, elastic }).directory;
  smallHeads = writeTinyCheckpoint(join(folder, 'small'), { headDim: 8 }).directory;
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Loads with this library file in the place of the package's own, and ELASTICLM_BACKEND as given. */
function loadWith(library: string, options: LoadOptions = {}, backend?: string): Promise<ElasticModel> {
  const variables = { ELASTICLM_CUDA_LIBRARY: library, ELASTICLM_BACKEND: backend };
  return withEnvironment(variables, () => ElasticModel.load(directory, options));
}

/** This package's sources and addon in a folder of their own, with a program that says what runs a model. */
function copyPackage(to: string): string {
  const { root } = findPackage();
  for (const part of ['lib', 'node_modules/node-gyp-build', 'build/Release/elasticlm.node']) {
    cpSync(join(root, part), join(to, part), { recursive: true });
  }
  writeFileSync(join(to, 'package.json'), '{ "name": "elasticlm", "version": "0.0.0", "type": "module" }');
  const program = `
    import { readFileSync } from 'node:fs';
    import { ElasticModel } from './lib/model/index.ts';
    const model = await ElasticModel.load(process.argv[2]);
    const { backend, backendReason } = model.info();
    const opened = /\\S+elasticlm_cuda\\.so/.exec(readFileSync('/proc/self/maps', 'utf8'));
    console.log(backend, backendReason ?? opened?.[0]);
  `;
  writeFileSync(join(to, 'program.ts'), program);
  return to;
}

const nowhere = '/nowhere/elasticlm_cuda.so';

describe("ElasticModel.load() without the cuda backend's library", () => {
  it("refuses 'cuda', naming the file, how to build it, and the cpu", async () => {
    const error = await expectRejection(
      loadWith(nowhere, { backend: 'cuda' }),
      'ELASTICLM_BACKEND_UNAVAILABLE',
    );
    expect(error.message).toContain(nowhere);
    expect(error.message).toContain('npm run build:cuda');
    expect(error.message).toContain("backend 'cpu'");
  });

  it("runs 'auto' on the cpu and says why", async () => {
    for (const options of [{}, { backend: 'auto' }] satisfies LoadOptions[]) {
      await using model = await loadWith(nowhere, options);
      const info = model.info();
      expect(info).toMatchObject({ backend: 'cpu', precision: 'f32' });
      expect(info.backendReason).toContain(nowhere);
      expect(info).not.toHaveProperty('device');
    }
  });

  it("gives no reason for 'cpu', which was asked for", async () => {
    await using model = await loadWith(nowhere, { backend: 'cpu' });
    expect(model.info()).not.toHaveProperty('backendReason');
  });

  it("refuses a precision that only GPUs have, saying why 'auto' is on the cpu", async () => {
    const load = loadWith(nowhere, { precision: 'f16' });
    const error = await expectRejection(load, 'ELASTICLM_PRECISION_UNSUPPORTED', /'f32'/);
    expect(error.message).toContain(nowhere);
  });
});

describe('ElasticModel.load(): options of backends', () => {
  it.each([
    [{ backend: 'tpu' }, 'ELASTICLM_ARGUMENT_INVALID', /options\.backend/],
    [{ backend: 'cuda', precision: 'i8' }, 'ELASTICLM_PRECISION_UNSUPPORTED', /'f16'/],
    [{ backend: 'cpu', precision: 'f16' }, 'ELASTICLM_PRECISION_UNSUPPORTED', /'f32'/],
    [{ backend: 'cpu', device: 0 }, 'ELASTICLM_ARGUMENT_INVALID', /options\.device/],
    [{ backend: 'cuda', device: -1 }, 'ELASTICLM_ARGUMENT_INVALID', /options\.device/],
    [{ backend: 'cuda', device: '0' }, 'ELASTICLM_ARGUMENT_INVALID', /options\.device/],
    [{ backend: 'cuda', threads: 0 }, 'ELASTICLM_ARGUMENT_INVALID', /options\.threads/],
  ] as [LoadOptions, ErrorCode, RegExp][])('refuses %j', async (options, code, message) => {
    await expectRejection(loadWith(nowhere, options), code, message);
  });

  it('lets ELASTICLM_BACKEND stand for a backend that was left out, and for no other', async () => {
    await expectRejection(loadWith(nowhere, {}, 'cuda'), 'ELASTICLM_BACKEND_UNAVAILABLE');
    await expectRejection(loadWith(nowhere, {}, 'abacus'), 'ELASTICLM_ARGUMENT_INVALID', /ELASTICLM_BACKEND/);
    await using model = await loadWith(nowhere, { backend: 'cpu' }, 'cuda');
    expect(model.info().backend).toBe('cpu');
  });
});

const noCompiler = await whyNoCompiler();
const unless = (reason: string | undefined): string => (reason === undefined ? '' : ` (left out: ${reason})`);

describe.skipIf(noCompiler)(`a library that is none of this version${unless(noCompiler)}`, () => {
  it.each<[string, RegExp, () => Promise<string>]>([
    [
      'garbage',
      /invalid ELF header|file too short/,
      () => {
        const path = join(folder, 'garbage.so');
        writeFileSync(path, 'not a library');
        return Promise.resolve(path);
      },
    ],
    [
      'a library without the symbol',
      /elasticlm_cuda_api/,
      () => {
        const source = join(folder, 'nothing.cpp');
        writeFileSync(source, 'int nothing = 0;\n');
        return buildLibrary(folder, 'nothing.so', source);
      },
    ],
    [
      'a library of another version',
      /interface version 1.*another version.*npm run build:cuda/,
      () => buildLibrary(folder, 'later.so', fakeSource, ['-DFAKE_VERSION=999']),
    ],
  ])('%s is refused, and passed over by auto', async (_, message, make) => {
    const library = await make();
    const error = await expectRejection(
      loadWith(library, { backend: 'cuda' }),
      'ELASTICLM_BACKEND_UNAVAILABLE',
      message,
    );
    expect(error.message).toContain(library);
    await using model = await loadWith(library);
    expect(model.info()).toMatchObject({ backend: 'cpu', backendReason: error.message });
  });
});

describe.skipIf(noCompiler)(
  `the Node side of the cuda backend, with a fake library${unless(noCompiler)}`,
  () => {
    let fake: string;
    beforeAll(async () => {
      fake = await buildLibrary(folder, 'fake.so', fakeSource);
    });
    const load = (options: LoadOptions = {}): Promise<ElasticModel> => loadWith(fake, options);

    it("is not even opened for backend 'cpu'", async () => {
      const untouched = join(folder, 'untouched.so');
      copyFileSync(fake, untouched);
      const opened = (): boolean => readFileSync('/proc/self/maps', 'utf8').includes(untouched);
      {
        await using model = await loadWith(untouched, { backend: 'cpu' });
        expect([model.info().backend, opened()]).toEqual(['cpu', false]);
      }
      await using model = await loadWith(untouched, { backend: 'cuda' });
      expect([model.info().backend, opened()]).toEqual(['cuda', true]);
    });

    it('is found in the folders of a package, beside the addon first', async () => {
      const copy = copyPackage(join(folder, 'package'));
      const found = async (): Promise<string> => {
        const env = { ...process.env, ELASTICLM_CUDA_LIBRARY: '', ELASTICLM_BACKEND: '' };
        const args = ['--import', import.meta.resolve('tsx'), join(copy, 'program.ts'), directory];
        const { stdout, stderr } = await runProcess(process.execPath, args, { cwd: copy, env });
        expect(stderr).toBe('');
        return stdout;
      };
      expect(await found()).toMatch(/^cpu .*none in .*Release, .*prebuilds.*, .*build-cuda/);
      for (const place of ['build-cuda', `prebuilds/${process.platform}-${process.arch}`, 'build/Release']) {
        mkdirSync(join(copy, place), { recursive: true });
        copyFileSync(fake, join(copy, place, 'elasticlm_cuda.so'));
        expect(await found()).toBe(`cuda ${join(copy, place, 'elasticlm_cuda.so')}\n`);
      }
    });

    it("'auto' and 'cuda' run there, in bf16, two forwards at a time, and say so", async () => {
      for (const backend of ['auto', 'cuda'] as const) {
        await using model = await load({ backend });
        const info = model.info();
        expect(info).toMatchObject({
          backend: 'cuda',
          isa: 'sm_90',
          precision: 'bf16',
          threads: 2,
          weightBytes: 1000,
          mappedBytes: 0,
          arenaBytes: 2000,
          numLabels: 0,
          hasPooler: true,
          device: { idx: 0, computeCapability: '9.0', numMultiprocessors: 132, emulated: false },
        });
        expect(info).not.toHaveProperty('backendReason');
        // the fake's name for its device tells what it was given
        expect(info.device?.name).toBe('dtype 2, path auto, 2 streams, 1 files, 4/72 2/36');
      }
    });

    it.each([
      [{ backend: 'cuda', precision: 'f32', threads: 1 }, 'dtype 0, path auto, 1 streams'],
      [{ precision: 'f16', threads: 5 }, 'dtype 1, path auto, 5 streams'],
      [{ precision: 'bf16', threads: 500 }, 'dtype 2, path auto, 16 streams'],
    ] as [LoadOptions, string][])('%j is what the library gets', async (options, name) => {
      await using model = await load(options);
      expect(model.info().device?.name).toContain(name);
    });

    it('leaves ELASTICLM_THREADS to the cpu', async () => {
      await withEnvironment({ ELASTICLM_THREADS: '7' }, async () => {
        await using model = await load();
        expect(model.info().threads).toBe(2);
      });
    });

    it("'auto' computes f32 on the cpu and says why", async () => {
      await using model = await load({ precision: 'f32' });
      expect(model.info()).toMatchObject({ backend: 'cpu', precision: 'f32' });
      expect(model.info().backendReason).toMatch(/'f32'.*'cuda'/);
    });

    it("refuses heads that its kernels are not written for; 'auto' then runs on the cpu", async () => {
      await withEnvironment({ ELASTICLM_CUDA_LIBRARY: fake, ELASTICLM_BACKEND: undefined }, async () => {
        const refused = ElasticModel.load(smallHeads, { backend: 'cuda' });
        const { message } = await expectRejection(refused, 'ELASTICLM_BACKEND_UNAVAILABLE', /heads of 8/);
        await using model = await ElasticModel.load(smallHeads);
        expect(model.info()).toMatchObject({ backend: 'cpu', backendReason: message });
      });
    });

    it("falls back where a device cannot be used at all, and only with 'auto'", async () => {
      const device = fakeDevices.old;
      const refused = load({ backend: 'cuda', device });
      const { message } = await expectRejection(refused, 'ELASTICLM_BACKEND_UNAVAILABLE', /received 7\.5/);
      await using model = await load({ device });
      expect(model.info()).toMatchObject({ backend: 'cpu', backendReason: message });
    });

    it.each([
      ['full', 'ELASTICLM_DEVICE_MEMORY_EXHAUSTED'],
      ['strange', 'ELASTICLM_INTERNAL_FAILED'],
    ] as const)("a %s device fails the load with %s, 'auto' too", async (name, code) => {
      const device = fakeDevices[name];
      await expectRejection(load({ backend: 'cuda', device }), code);
      await expectRejection(load({ device }), code);
    });

    it('a forward that fails on the device rejects with its code and the stack of the caller', async () => {
      await using model = await load({ device: fakeDevices.broken });
      const batch = randomBatch(model.config, [3], new Random(1));
      const callerOfForward = (): Promise<unknown> => model.forward(batch, { output: 'pooled' });
      const error = await expectRejection(callerOfForward(), 'ELASTICLM_DEVICE_FAILED', /launch failure/);
      expect(error.stack).toContain('callerOfForward');
    });

    it('hands over ids, structures and options as they are', async () => {
      await using model = await load();
      const batch = randomBatch(model.config, [2, 3], new Random(2));
      const { hiddenSize } = model.config;
      const rowsOf = (data: Float32Array, columns: number): number[][] =>
        Array.from({ length: data.length / hiddenSize }, (_, row) =>
          Array.from(data.subarray(row * hiddenSize, row * hiddenSize + columns)),
        );
      const ids = Array.from(batch.inputIds, (id, token) => [id, batch.tokenTypeIds[token]!]);

      const hidden = await model.forward(batch, { output: 'hidden', level: [0.5, 1] });
      expect(rowsOf(hidden.data, 3)).toEqual(ids.map((pair) => [...pair, 0]));

      const structure: Structure = { heads: [4, [1, 3]], neurons: [72, [0, 2, 4]] };
      const own = await model.forward(batch, { output: 'hidden', structure });
      // 2 heads; 16 + 16 neurons and the short last block of 8; sums of the positions
      expect(rowsOf(own.data, 7)).toEqual(ids.map((pair) => [...pair, 1, 2, 40, 4, 6]));

      const options = { output: 'pooled', pooling: 'mean', normalize: true, level: [0.5, 1] } as const;
      const pooled = await model.forward(batch, options);
      expect(rowsOf(pooled.data, 5)).toEqual([
        [2, 1, 1, 1, 1],
        [3, 1, 1, 1, 0],
      ]);
      const pooler = await model.forward(batch, { output: 'pooler' });
      expect(rowsOf(pooler.data, 5)[1]).toEqual([3, 2, 1, 0, 0]);
    });

    it('checks ids before they reach the library', async () => {
      await using model = await load();
      const batch = randomBatch(model.config, [3], new Random(3));
      batch.inputIds[1] = model.config.vocabSize;
      await expectRejection(model.forward(batch, { output: 'pooled' }), 'ELASTICLM_BATCH_INVALID', /\[1\]/);
    });

    it('prints the plan of a forward', async () => {
      await using model = await load();
      expect(model.plan(randomBatch(model.config, [2, 3], new Random(4)), { level: 0.5 })).not.toBe('');
    });

    it('refuses calibrate(), naming the backend that has it, and elasticizes on the cpu', async () => {
      await using model = await load();
      const batch = randomBatch(model.config, [3], new Random(5));
      const message = /'cpu'.*calibrate\(\).*'cuda'/;
      await expectRejection(model.calibrate(batch), 'ELASTICLM_BACKEND_UNAVAILABLE', message);
      const env = { ...process.env, ELASTICLM_CUDA_LIBRARY: fake, ELASTICLM_BACKEND: 'cuda' };
      const args = ['elasticize', directory, join(folder, 'elastic'), '--text', '-', '--levels', '1,0.5'];
      const { code, stderr } = await runCli(args, { env, input: 'one\ntwo\n' });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    });

    it('runs as many forwards at once as it was loaded for', async () => {
      const timed = async (threads: number): Promise<number> => {
        await using model = await load({ threads });
        const batch = randomBatch(model.config, [60, 60, 60, 60], new Random(6)); // 48 ms
        const begin = performance.now();
        await Promise.all(Array.from({ length: 8 }, () => model.forward(batch, { output: 'pooled' })));
        return performance.now() - begin;
      };
      const oneByOne = await timed(1);
      expect(oneByOne).toBeGreaterThan(8 * 48);
      let atOnce = Infinity; // a busy machine starts threads late: the best of a few tries tells
      for (let trial = 0; trial < 5 && atOnce > oneByOne / 2; ++trial) atOnce = await timed(8);
      expect(atOnce).toBeLessThan(oneByOne / 2);
    });

    it('stops a running forward when its signal fires', async () => {
      await using model = await load({ threads: 1 });
      const batch = randomBatch(model.config, Array<number>(200).fill(60), new Random(7)); // 2.4 s
      const controller = new AbortController();
      const begin = performance.now();
      const call = model.forward(batch, { output: 'pooled', signal: controller.signal });
      setTimeout(() => {
        controller.abort('enough');
      }, 30);
      const error = await expectRejection(call, 'ELASTICLM_CALL_ABORTED');
      expect(error.cause).toBe('enough');
      expect(performance.now() - begin).toBeLessThan(1200);
    });

    it('leaves the event loop alone while a forward waits for the device', async () => {
      await using model = await load();
      const batch = randomBatch(model.config, Array<number>(10).fill(60), new Random(8)); // 120 ms
      let turns = 0;
      const timer = setInterval(() => ++turns, 2);
      await model.forward(batch, { output: 'pooled' });
      clearInterval(timer);
      expect(turns).toBeGreaterThan(10);
    });

    it('close() waits for the forwards in flight, and the model is closed', async () => {
      const model = await load({ threads: 1 });
      const batch = randomBatch(model.config, [60], new Random(9));
      const order: string[] = [];
      const calls = [0, 1, 2].map((position) =>
        model.forward(batch, { output: 'pooled' }).then(() => order.push(`forward ${position}`)),
      );
      await model.close();
      order.push('close');
      await Promise.all(calls);
      expect(order).toEqual(['forward 0', 'forward 1', 'forward 2', 'close']);
      await expectRejection(model.forward(batch, { output: 'pooled' }), 'ELASTICLM_MODEL_CLOSED');
      expect(() => model.info()).toThrow(/close\(\)/);
    });

    it('info and bench show the backend', async () => {
      const env = { ...process.env, ELASTICLM_CUDA_LIBRARY: fake, ELASTICLM_BACKEND: 'cpu' };
      const info = await runCli(['info', directory, '--backend', 'cuda'], { env });
      expect(info.stdout).toMatch(/runs on cuda \(dtype 2, .*, sm_90, 2 forwards in flight\), bf16/);
      const args = ['bench', directory, '--shapes', '1x8', '--level', '0.5'];
      const where = ['--backend', 'cuda', '--device', '0', '--precision', 'f16', '--threads', '3'];
      const results = await runCliForJson<Record<string, unknown>>([...args, ...where], { env });
      expect(results).toMatchObject([{ backend: 'cuda', isa: 'sm_90', precision: 'f16', threads: 3 }]);
    });

    it('info says on the command line why no GPU is used', async () => {
      const env = { ...process.env, ELASTICLM_CUDA_LIBRARY: nowhere, ELASTICLM_BACKEND: '' };
      const { stdout } = await runCli(['info', directory], { env });
      expect(stdout).toMatch(/runs on cpu/);
      expect(stdout).toContain(nowhere);
    });

    /** The programs that try the binding's threads and memory, on this backend. */
    const runProgram = (name: string, args: readonly string[], flags: readonly string[] = []) => {
      const program = fileURLToPath(new URL(`../binding/programs/${name}.ts`, import.meta.url));
      const env = { ...process.env, ELASTICLM_CUDA_LIBRARY: fake, ELASTICLM_BACKEND: 'cuda' };
      const node = [...flags, '--import', import.meta.resolve('tsx'), program, directory, ...args];
      return runProcess(process.execPath, node, { env });
    };

    it('frees models that are collected while busy', async () => {
      const { code, stdout, stderr } = await runProgram('collect-while-busy', [], ['--expose-gc']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(JSON.parse(stdout)).toEqual({ alive: 0, threads: 0 });
    });

    it('lets worker_threads end in any way while busy', async () => {
      const { code, signal, stdout, stderr } = await runProgram('workers', []);
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
      expect(JSON.parse(stdout)).toMatchObject({ unchanged: true });
    });

    it('lets the process exit while busy', async () => {
      const { code, signal, stderr } = await runProgram('exit-while-busy', ['exit']);
      expect({ code, signal, stderr }).toEqual({ code: 3, signal: null, stderr: '' });
    });
  },
);
