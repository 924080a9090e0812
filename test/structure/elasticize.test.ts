import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ElasticModel } from '../../lib/model/index.js';
import { elasticize } from '../../lib/structure/index.js';
import { randomBatch } from '../support/batches.js';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';

const texts = [
  'the quick brown fox',
  'a lazy dog jumps',
  'the gene of a cell',
  'city, river?',
  'x y z 1 2 3',
];
const shape = { layers: 3, heads: 4, headDim: 8, neurons: 70 };

let folder: string;
let model: string;
let output: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-structure-'));
  model = join(folder, 'plain');
  output = join(folder, 'elastic');
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function bytesOf(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(directory)).sort();
  const contents = await Promise.all(names.map((name) => readFile(join(directory, name), 'base64')));
  return Object.fromEntries(names.map((name, idx) => [name, contents[idx]!]));
}

describe('elasticize()', () => {
  it('writes a checkpoint that opens at every level, with the counts it reports', async () => {
    const { config } = writeTinyCheckpoint(model, shape);
    const result = await elasticize({ model, output, texts, levels: [0.5, 0.25, 0.1] });
    expect(result.examples).toBe(texts.length);
    expect(result.levels.map(({ level }) => level)).toEqual([1, 0.5, 0.25, 0.1]);
    await using elastic = await ElasticModel.load(output);
    expect(elastic.levels).toEqual(result.levels);
    expect(elastic.config).toEqual(config);
    for (const { level, heads, neurons } of elastic.levels) {
      const sum = (counts: number[]): number => counts.reduce((total, count) => total + count, 0);
      expect(sum(heads)).toBe(Math.round(level * 12));
      expect(sum(neurons)).toBe(Math.round(level * 210));
    }
    const batch = randomBatch(config, [5, 1, 9], new Random(1));
    for (const { level } of elastic.levels) {
      const { data } = await elastic.forward(batch, { output: 'hidden', level });
      expect(data.every(Number.isFinite)).toBe(true);
    }
  });

  it('leaves the outputs of level 1 as they were, up to the rounding of sums in another order', async () => {
    const { config } = writeTinyCheckpoint(model, { ...shape, labels: 3, prefix: 'bert.', shards: 2 });
    await elasticize({ model, output, texts });
    await using before = await ElasticModel.load(model);
    await using after = await ElasticModel.load(output);
    const batch = randomBatch(config, [7, 12, 3], new Random(2));
    // Permuting changes the order of the sums over heads (K = E) and neurons (K = F) alone. A sum of K products in f32
    // moves by at most 2 K u times the sum of their magnitudes, here O(1) since hidden states are LayerNorm outputs; each
    // of 2 L residual steps is followed by a LayerNorm of gain about 1, so errors add up, times 4 for its 1 / deviation.
    const unitRoundoff = 2 ** -24;
    const bound = 2 * config.numLayers * 4 * 2 * config.intermediateSize * unitRoundoff;
    for (const output of ['hidden', 'pooled', 'pooler', 'logits'] as const) {
      const expected = (await before.forward(batch, { output })).data;
      const found = (await after.forward(batch, { output })).data;
      let worst = 0;
      for (let i = 1; i < found.length; ++i) {
        const error = (idx: number): number => Math.abs(found[idx]! - expected[idx]!);
        if (error(i) > error(worst)) worst = i;
      }
      expect(
        Math.abs(found[worst]! - expected[worst]!),
        `${output}[${worst}]: ${found[worst]} after, ${expected[worst]} before`,
      ).toBeLessThanOrEqual(bound);
    }
  });

  it('gives the same files for the same texts and seed', async () => {
    writeTinyCheckpoint(model, shape);
    const many = Array.from({ length: 200 }, (_, idx) => `the ${idx} fox jumps of ${idx * 7}`);
    await elasticize({ model, output, texts: many, maxExamples: 20, seed: 7 });
    const again = join(folder, 'again');
    await elasticize({ model, output: again, texts: many, maxExamples: 20, seed: 7, threads: 1 });
    expect(await bytesOf(again)).toEqual(await bytesOf(output));
  });

  it('records how it ranked, and the old places of heads and neurons', async () => {
    writeTinyCheckpoint(model, shape);
    await elasticize({ model, output, texts, seed: 3, maxLength: 32, pooling: 'cls', normalize: true });
    const file = JSON.parse(await readFile(join(output, 'elastic.json'), 'utf8')) as Record<string, unknown>;
    expect(file).toMatchObject({
      format: 'elasticlm',
      version: 1,
      importance: { method: 'activation-norm', examples: texts.length, seed: 3 },
      pooling: 'cls',
      normalize: true,
      max_length: 32,
    });
    const { heads, neurons } = file['permutation'] as { heads: number[][]; neurons: number[][] };
    expect(heads.map((order) => order.length)).toEqual([4, 4, 4]);
    expect(neurons.map((order) => order.length)).toEqual([70, 70, 70]);
  });

  it('records when importance was normalised per layer', async () => {
    writeTinyCheckpoint(model, shape);
    await elasticize({ model, output, texts, normalizeLayers: true });
    const file = JSON.parse(await readFile(join(output, 'elastic.json'), 'utf8')) as Record<string, unknown>;
    expect(file).toMatchObject({ importance: { method: 'activation-norm-per-layer' } });
  });

  it('elasticises its own output: nothing moves any more, and places still count from the first checkpoint', async () => {
    writeTinyCheckpoint(model, shape);
    await elasticize({ model, output, texts, levels: [0.5] });
    const again = join(folder, 'again');
    const second = await elasticize({ model: output, output: again, texts, levels: [0.5] });
    const read = async (directory: string): Promise<unknown> =>
      JSON.parse(await readFile(join(directory, 'elastic.json'), 'utf8'));
    expect(await read(again)).toEqual(await read(output));
    expect(second.levels[0]!.level).toBe(1);
  });

  it('takes text as it comes, passing over blank ones', async () => {
    writeTinyCheckpoint(model, shape);
    async function* stream(): AsyncGenerator<string> {
      for (const text of ['', ...texts, '  \n']) {
        await Promise.resolve();
        yield text;
      }
    }
    const seen: [number, number][] = [];
    const result = await elasticize({
      model,
      output,
      texts: stream(),
      onProgress: (done, total) => seen.push([done, total]),
    });
    expect(result.examples).toBe(texts.length);
    expect(seen.at(-1)).toEqual([texts.length, texts.length]);
  });

  it('copies tokenizer and sentence-transformers files, and no other weights', async () => {
    writeTinyCheckpoint(model, { ...shape, fileName: 'model.fp16.safetensors', dtype: 'F16' });
    await writeFile(join(model, 'pytorch_model.bin'), 'weights');
    await writeFile(join(model, 'modules.json'), '[]');
    await mkdir(join(model, '1_Pooling'));
    await writeFile(join(model, '1_Pooling', 'config.json'), '{}');
    await mkdir(join(model, 'onnx'));
    await elasticize({ model, output, texts, pooling: 'mean' });
    const names = [
      '1_Pooling',
      'config.json',
      'elastic.json',
      'model.safetensors',
      'modules.json',
      'tokenizer.json',
    ];
    expect(await readdir(output)).toEqual([...names, 'tokenizer_config.json', 'vocab.txt'].sort());
  });
});

describe('elasticize() into a folder that is there', () => {
  it('writes into an empty one, refuses a full one, and replaces a checkpoint when told to', async () => {
    writeTinyCheckpoint(model, shape);
    await mkdir(output);
    await elasticize({ model, output, texts, levels: [0.5] });
    await expectRejection(elasticize({ model, output, texts }), 'ELASTICLM_ARGUMENT_INVALID', /overwrite/);
    await elasticize({ model, output, texts, levels: [0.25], overwrite: true });
    await using replaced = await ElasticModel.load(output);
    expect(replaced.levels.map(({ level }) => level)).toEqual([1, 0.25]);
    expect((await readdir(folder)).sort()).toEqual(['elastic', 'plain']);
  });

  it('never replaces a folder that is no checkpoint', async () => {
    writeTinyCheckpoint(model, shape);
    await mkdir(output);
    await writeFile(join(output, 'thesis.txt'), 'precious');
    const run = elasticize({ model, output, texts, overwrite: true });
    await expectRejection(run, 'ELASTICLM_ARGUMENT_INVALID', /thesis\.txt/);
    expect(await readFile(join(output, 'thesis.txt'), 'utf8')).toBe('precious');
  });
});

describe('elasticize() that fails', () => {
  it.each([
    ['no text', { texts: [] }, 'ELASTICLM_ARGUMENT_INVALID', /at least one text/],
    ['blank text alone', { texts: [' ', ''] }, 'ELASTICLM_ARGUMENT_INVALID', /at least one text/],
    ['a text that is none', { texts: ['a', 1 as unknown as string] }, 'ELASTICLM_ARGUMENT_INVALID', /text 1/],
    ['a level of 0', { levels: [0] }, 'ELASTICLM_ARGUMENT_INVALID', /levels/],
    ['a level above 1', { levels: [1.5] }, 'ELASTICLM_ARGUMENT_INVALID', /levels/],
    ['a level that is no number', { levels: [NaN] }, 'ELASTICLM_ARGUMENT_INVALID', /levels/],
    ['a level twice', { levels: [0.5, 0.5] }, 'ELASTICLM_ARGUMENT_INVALID', /0.5 twice/],
    ['no examples', { maxExamples: 0 }, 'ELASTICLM_ARGUMENT_INVALID', /maxExamples/],
    ['a seed that is no whole number', { seed: 0.5 }, 'ELASTICLM_ARGUMENT_INVALID', /seed/],
    ['an aborted signal', { signal: AbortSignal.abort() }, 'ELASTICLM_CALL_ABORTED', /aborted/],
    ['a checkpoint that is not there', { model: '/nowhere' }, 'ELASTICLM_FILE_NOT_FOUND', /nowhere/],
  ] as const)('leaves nothing behind after %s', async (_, options, code, message) => {
    writeTinyCheckpoint(model, shape);
    await expectRejection(elasticize({ model, output, texts, ...options }), code, message);
    expect(await readdir(folder)).toEqual(['plain']);
  });

  it('leaves nothing behind when the text fails', async () => {
    writeTinyCheckpoint(model, shape);
    async function* failing(): AsyncGenerator<string> {
      yield 'the fox';
      await Promise.resolve();
      throw new Error('disk gone');
    }
    await expect(elasticize({ model, output, texts: failing() })).rejects.toThrow('disk gone');
    expect(await readdir(folder)).toEqual(['plain']);
  });
});
