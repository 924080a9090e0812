import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  availableProcessors,
  findPackage,
  NativeIndex,
  outgoingNorms,
  writePermutedCheckpoint,
} from '../../lib/binding/index.js';
import { ElasticModel } from '../../lib/model/index.js';
import { randomBatch } from '../support/batches.js';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectClose } from '../support/compare.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { range } from '../support/reference-encoder.js';
import { runProcess } from '../support/run-process.js';

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'elasticlm-addon-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('loadAddon()', () => {
  it('says what is missing and how to build it', async () => {
    await inFolder(async (folder) => {
      const { root } = findPackage();
      cpSync(join(root, 'lib'), join(folder, 'lib'), { recursive: true });
      writeFileSync(
        join(folder, 'package.json'),
        JSON.stringify({ name: 'elasticlm', version: '0.0.0', type: 'module' }),
      );
      mkdirSync(join(folder, 'node_modules'));
      cpSync(join(root, 'node_modules/node-gyp-build'), join(folder, 'node_modules/node-gyp-build'), {
        recursive: true,
      });
      const program = `
        import { availableProcessors } from './lib/binding/index.ts';
        try { availableProcessors(); } catch (error) { console.log(JSON.stringify([error.code, error.message])); }
      `;
      writeFileSync(join(folder, 'program.ts'), program);
      const args = ['--import', import.meta.resolve('tsx'), join(folder, 'program.ts')];
      const { stdout, stderr } = await runProcess(process.execPath, args, { cwd: folder });
      expect(stderr).toBe('');
      const [code, message] = JSON.parse(stdout) as [string, string];
      expect(code).toBe('ELASTICLM_ADDON_MISSING');
      expect(message).toMatch(/No native build was found/);
      expect(message).toMatch(/npx node-gyp rebuild/);
      expect(message).toContain(folder);
    });
  });

  it('finds the package that this file belongs to', () => {
    expect(fileURLToPath(import.meta.url).startsWith(findPackage().root)).toBe(true);
    expect(availableProcessors()).toBeGreaterThanOrEqual(1);
  });
});

describe('writePermutedCheckpoint() and outgoingNorms()', () => {
  it('writes a checkpoint that computes the same, whose norms are permuted', async () => {
    await inFolder(async (folder) => {
      const { directory, config, files } = writeTinyCheckpoint(join(folder, 'from'), {
        dtype: 'BF16',
        shards: 2,
      });
      const other = writeTinyCheckpoint(join(folder, 'to'), { dtype: 'BF16' });
      const random = new Random(1);
      const shuffled = (size: number): number[] =>
        range(size)
          .map((place) => [random.uniform(), place] as const)
          .sort(([a], [b]) => a - b)
          .map(([, place]) => place);
      const heads = range(config.numLayers).map(() => shuffled(config.numHeads));
      const neurons = range(config.numLayers).map(() => shuffled(config.intermediateSize));
      const output = join(other.directory, 'model.safetensors');
      await writePermutedCheckpoint({ config, files }, { heads, neurons }, output);

      const before = await outgoingNorms({ config, files });
      const after = await outgoingNorms({ config, files: [output] });
      const moved = neurons.flatMap((order, layer) =>
        order.map((old) => before.neurons[layer * config.intermediateSize + old] ?? Number.NaN),
      );
      expect([...after.neurons]).toEqual(moved);

      const models = await Promise.all([directory, other.directory].map((path) => ElasticModel.load(path)));
      const batch = randomBatch(config, [5, 60], random);
      const [left, right] = await Promise.all(
        models.map((model) => model.forward(batch, { output: 'hidden' })),
      );
      // Sums of at most F terms of order 1 in another order: a few units in the last place of each.
      expectClose(right?.data ?? [], left?.data ?? [], config.intermediateSize * 2 ** -24, config.hiddenSize);
      await Promise.all(models.map((model) => model.close()));
    });
  });

  it('reject a permutation that is none, and a folder that is not there', async () => {
    await inFolder(async (folder) => {
      const { config, files } = writeTinyCheckpoint(join(folder, 'from'));
      const heads = range(config.numLayers).map(() => range(config.numHeads));
      const neurons = range(config.numLayers).map(() => range(config.intermediateSize));
      const twice = { heads, neurons: neurons.map(() => Array<number>(config.intermediateSize).fill(0)) };
      const source = { config, files };
      const output = join(folder, 'out.safetensors');
      await expectRejection(writePermutedCheckpoint(source, twice, output), 'ELASTICLM_STRUCTURE_INVALID');
      const nowhere = join(folder, 'nowhere', 'out.safetensors');
      await expectRejection(
        writePermutedCheckpoint(source, { heads, neurons }, nowhere),
        'ELASTICLM_FILE_UNWRITABLE',
      );
    });
  });
});

describe('NativeIndex', () => {
  it('finds the best documents, equal scores in rising order, in vectors copied over several turns', async () => {
    const dims = 8;
    const count = 200_000; // 1.6 million floats: more than one turn copies
    const vectors = new Float32Array(count * dims);
    for (const document of [3, 17, 131_072, count - 1]) vectors[document * dims] = 2;
    const index = await NativeIndex.fromVectors({ vectors, dims }, { threads: 2 });
    expect({ dims: index.dims, count: index.count }).toEqual({ dims, count });
    const query = new Float32Array(dims).fill(1);
    const { documents, scores } = await index.search(query, 5);
    expect([...documents]).toEqual([3, 17, 131_072, count - 1, 0]);
    expect([...scores]).toEqual([2, 2, 2, 2, 0]);
    await index.close();
  });

  it('checks its arguments, and refuses use after close', async () => {
    const index = await NativeIndex.fromVectors({ vectors: new Float32Array(12), dims: 4 });
    await expectRejection(index.search(new Float32Array(5), 1), 'ELASTICLM_ARGUMENT_INVALID', /4 floats/);
    await expectRejection(index.search(new Float32Array(4), 0), 'ELASTICLM_ARGUMENT_INVALID', /topK/);
    await expectRejection(
      NativeIndex.fromVectors({ vectors: new Float32Array(5), dims: 2 }),
      'ELASTICLM_ARGUMENT_INVALID',
    );
    expect((await index.search(new Float32Array(8), 99)).documents).toHaveLength(6);
    const closing = index.close();
    expect(index.close()).toBe(closing);
    await expectRejection(index.search(new Float32Array(4), 1), 'ELASTICLM_INDEX_CLOSED');
    await closing;
  });

  it('reports a missing or broken file', async () => {
    await inFolder(async (folder) => {
      await expectRejection(NativeIndex.open(join(folder, 'none')), 'ELASTICLM_FILE_NOT_FOUND', /none/);
      writeFileSync(join(folder, 'broken'), Buffer.alloc(100, 7));
      await expectRejection(NativeIndex.open(join(folder, 'broken')), 'ELASTICLM_INDEX_INVALID', /broken/);
    });
  });
});
