import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../lib/errors.js';
import { ElasticModel, readCheckpoint, type LoadOptions } from '../../lib/model/index.js';
import { randomBatch } from '../support/batches.js';
import {
  configOf,
  evenLevels,
  writeJson,
  writeTinyCheckpoint,
  type TinyCheckpoint,
} from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';

let root: string;
let made = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'elasticlm-checkpoint-'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

function write(options: TinyCheckpoint = {}): string {
  return writeTinyCheckpoint(join(root, String(made++)), options).directory;
}

describe('ElasticModel.load(): weights', () => {
  it.each([
    ['no config.json', 'config.json', 'ELASTICLM_FILE_NOT_FOUND'],
    ['no weights', 'model.safetensors', 'ELASTICLM_FILE_NOT_FOUND'],
  ] as const)('fails with %s', async (_, file, code) => {
    const directory = write();
    unlinkSync(join(directory, file));
    await expectRejection(ElasticModel.load(directory), code, new RegExp(directory));
  });

  it('fails for a folder that is not there', async () => {
    await expectRejection(ElasticModel.load(join(root, 'nowhere')), 'ELASTICLM_FILE_NOT_FOUND', /nowhere/);
  });

  it('does not guess between two files', async () => {
    const directory = write({ fileName: 'a.safetensors' });
    copyFileSync(join(directory, 'a.safetensors'), join(directory, 'b.safetensors'));
    await expectRejection(
      ElasticModel.load(directory),
      'ELASTICLM_FILE_NOT_FOUND',
      /a\.safetensors, b\.safe/,
    );
  });

  it.each([
    '../outside.safetensors',
    '/etc/x.safetensors',
    'a/../../x.safetensors',
    '..\\x.safetensors',
    'C:\\x.safetensors',
  ])('does not follow a shard to %s', async (name) => {
    const directory = write({ shards: 2 });
    writeJson(join(directory, 'model.safetensors.index.json'), { weight_map: { tensor: name } });
    await expectRejection(ElasticModel.load(directory), 'ELASTICLM_CHECKPOINT_INVALID', /inside the folder/);
  });

  it('names a shard that is missing', async () => {
    const directory = write({ shards: 2 });
    unlinkSync(join(directory, 'model-00002-of-00002.safetensors'));
    await expectRejection(ElasticModel.load(directory), 'ELASTICLM_FILE_NOT_FOUND', /00002-of-00002/);
  });

  it('names a tensor of another shape than the config says', async () => {
    const directory = write({ config: { intermediate_size: 80 } });
    await expectRejection(
      ElasticModel.load(directory),
      'ELASTICLM_TENSOR_SHAPE_MISMATCH',
      /intermediate|output/,
    );
  });

  it('names a tensor that is missing', async () => {
    const directory = write({ config: { num_hidden_layers: 3 } });
    await expectRejection(ElasticModel.load(directory), 'ELASTICLM_TENSOR_MISSING', /layer\.2/);
  });

  it('refuses a number of labels that is not the classifier’s', async () => {
    const directory = write({ labels: 3, config: { id2label: { 0: 'no', 1: 'yes' } } });
    await expectRejection(ElasticModel.load(directory), 'ELASTICLM_CONFIG_INVALID', /id2label/);
  });
});

describe('ElasticModel.load(): config.json', () => {
  it.each([
    ['model_type', 'roberta'],
    ['hidden_act', 'relu'],
    ['hidden_act', 'gelu_new'],
    ['position_embedding_type', 'relative_key'],
    ['is_decoder', true],
    ['add_cross_attention', true],
    ['quantization_config', { bits: 4 }],
    ['pruned_heads', { 0: [1] }],
  ])('does not run %s %j', async (field, value) => {
    const directory = write({ config: { [field]: value } });
    await expectRejection(ElasticModel.load(directory), 'ELASTICLM_CONFIG_UNSUPPORTED', new RegExp(field));
  });

  it.each([
    ['hidden_size', undefined],
    ['hidden_size', 0],
    ['hidden_size', 32.5],
    ['hidden_size', '32'],
    ['hidden_size', 2 ** 31],
    ['num_hidden_layers', 2 ** 31 - 1],
    ['num_attention_heads', 5],
    ['num_attention_heads', 16],
    ['layer_norm_eps', -1],
    ['vocab_size', null],
    ['id2label', { 1: 'one' }],
  ])('says what is wrong with %s %j', async (field, value) => {
    const directory = write({ config: { [field]: value } });
    await expectRejection(ElasticModel.load(directory), 'ELASTICLM_CONFIG_INVALID', new RegExp(field));
  });

  it('takes a BERT class without a model_type', async () => {
    const directory = write({ config: { model_type: undefined } });
    await (await ElasticModel.load(directory)).close();
    const other = write({ config: { model_type: undefined, architectures: ['T5Model'] } });
    await expectRejection(ElasticModel.load(other), 'ELASTICLM_CONFIG_UNSUPPORTED', /architectures/);
  });
});

describe('ElasticModel.load(): levels', () => {
  it('gives a plain checkpoint the one level 1', async () => {
    const model = await ElasticModel.load(write());
    expect(model.levels).toEqual([{ level: 1, heads: [4, 4], neurons: [72, 72], computeFraction: 1 }]);
    const batch = randomBatch(model.config, [3], new Random(1));
    const call = model.forward(batch, { output: 'pooled', level: 0.5 });
    await expectRejection(call, 'ELASTICLM_LEVEL_UNKNOWN', /holds: 1 for options\.level, received 0\.5/);
    await model.close();
  });

  it('lists what there is when a level is unknown', async () => {
    const model = await ElasticModel.load(write({ elastic: evenLevels(configOf(), [0.5, 0.25]) }));
    const batch = randomBatch(model.config, [3, 4], new Random(1));
    const call = model.forward(batch, { output: 'pooled', level: [1, 0.3] });
    await expectRejection(
      call,
      'ELASTICLM_LEVEL_UNKNOWN',
      /1, 0\.5, 0\.25 for options\.level\[1\], received 0\.3/,
    );
    const short = model.forward(batch, { output: 'pooled', level: [1] });
    await expectRejection(short, 'ELASTICLM_ARGUMENT_INVALID', /each of 2 sequences/);
    expect(model.levels.map(({ computeFraction }) => computeFraction)).toEqual([1, 0.5, 0.25]);
    await model.close();
  });
});

describe('readCheckpoint(): maximum length', () => {
  const sources: [string, unknown][] = [
    ['sentence_bert_config.json', { max_seq_length: 40 }],
    ['tokenizer_config.json', { model_max_length: 48 }],
  ];
  it('asks elastic.json, sentence_bert_config.json, tokenizer_config.json, then the position embeddings', async () => {
    const directory = write({ elastic: { ...evenLevels(configOf(), []), maxLength: 32 } });
    for (const [name, content] of sources) writeJson(join(directory, name), content);
    const limits: number[] = [];
    for (const file of ['elastic.json', 'sentence_bert_config.json', 'tokenizer_config.json']) {
      limits.push((await readCheckpoint(directory)).maxLength);
      unlinkSync(join(directory, file));
    }
    limits.push((await readCheckpoint(directory)).maxLength);
    expect(limits).toEqual([32, 40, 48, 64]);
  });

  it.each([1e30, 512, 65])('never exceeds the position embeddings: model_max_length %d', async (limit) => {
    const directory = write();
    writeJson(join(directory, 'tokenizer_config.json'), { model_max_length: limit });
    expect((await readCheckpoint(directory)).maxLength).toBe(64);
  });
});

describe('readCheckpoint(): pooling', () => {
  const modules = (...kinds: string[]): unknown =>
    kinds.map((kind, idx) => ({
      idx,
      name: String(idx),
      path: idx === 0 ? '' : `${idx}_${kind}`,
      type: `sentence_transformers.models.${kind}`,
    }));
  const writeModules = (pooling: unknown, ...kinds: string[]): string => {
    const directory = write();
    writeJson(join(directory, 'modules.json'), modules(...kinds));
    mkdirSync(join(directory, '1_Pooling'));
    writeJson(join(directory, '1_Pooling', 'config.json'), pooling);
    return directory;
  };

  it('reads sentence-transformers’ modules', async () => {
    const mean = {
      word_embedding_dimension: 32,
      pooling_mode_cls_token: false,
      pooling_mode_mean_tokens: true,
    };
    const normalised = writeModules(mean, 'Transformer', 'Pooling', 'Normalize');
    expect(await readCheckpoint(normalised)).toMatchObject({ pooling: 'mean', normalize: true });
    const plain = writeModules({ pooling_mode_cls_token: true }, 'Transformer', 'Pooling');
    expect(await readCheckpoint(plain)).toMatchObject({ pooling: 'cls', normalize: false });
  });

  it('says nothing when neither file does, and lets elastic.json decide', async () => {
    const facts = await readCheckpoint(write());
    expect('pooling' in facts || 'normalize' in facts).toBe(false);
    const directory = writeModules({ pooling_mode_cls_token: true }, 'Transformer', 'Pooling');
    const elastic = { ...evenLevels(configOf(), []), pooling: 'mean' as const, normalize: true };
    const other = write({ elastic });
    renameSync(join(other, 'elastic.json'), join(directory, 'elastic.json'));
    expect(await readCheckpoint(directory)).toMatchObject({ pooling: 'mean', normalize: true });
  });

  it.each([
    [{ pooling_mode_max_tokens: true }, ['Transformer', 'Pooling'], 'ELASTICLM_CONFIG_UNSUPPORTED'],
    [
      { pooling_mode_cls_token: true, pooling_mode_mean_tokens: true },
      ['Transformer', 'Pooling'],
      'ELASTICLM_CONFIG_UNSUPPORTED',
    ],
    [{ pooling_mode_cls_token: true }, ['Transformer', 'Pooling', 'Dense'], 'ELASTICLM_CONFIG_UNSUPPORTED'],
    [
      { word_embedding_dimension: 31, pooling_mode_cls_token: true },
      ['Transformer', 'Pooling'],
      'ELASTICLM_CONFIG_INVALID',
    ],
  ] as [unknown, string[], ErrorCode][])('does not run %j %j', async (pooling, kinds, code) => {
    await expectRejection(readCheckpoint(writeModules(pooling, ...kinds)), code);
  });

  it('does not leave the folder for a pooling module', async () => {
    const directory = write();
    const type = 'sentence_transformers.models.Pooling';
    writeJson(join(directory, 'modules.json'), [{ path: '../1_Pooling', type }]);
    await expectRejection(readCheckpoint(directory), 'ELASTICLM_CONFIG_INVALID', /inside the folder/);
  });
});

describe('ElasticModel.load(): options', () => {
  it.each([
    [{ backend: 'cuda' }, 'ELASTICLM_BACKEND_UNAVAILABLE', /'cpu'/],
    [{ backend: 'tpu' }, 'ELASTICLM_ARGUMENT_INVALID', /backend/],
    [{ precision: 'f16' }, 'ELASTICLM_PRECISION_UNSUPPORTED', /'bf16'/],
    [{ precision: 'f64' }, 'ELASTICLM_PRECISION_UNSUPPORTED', /precision/],
    [{ threads: 0 }, 'ELASTICLM_ARGUMENT_INVALID', /threads/],
    [{ threads: 1.5 }, 'ELASTICLM_ARGUMENT_INVALID', /1\.5/],
    [{ threads: 1e9 }, 'ELASTICLM_ARGUMENT_INVALID', /1024/],
  ] as [LoadOptions, ErrorCode, RegExp][])('refuses %j', async (options, code, message) => {
    await expectRejection(ElasticModel.load(write(), options), code, message);
  });

  it('says what really runs', async () => {
    const model = await ElasticModel.load(write(), { backend: 'auto', precision: 'auto', threads: 2 });
    const info = model.info();
    expect(info).toMatchObject({
      backend: 'cpu',
      precision: 'f32',
      threads: 2,
      numLabels: 0,
      hasPooler: true,
    });
    expect(info.weightBytes).toBeGreaterThan(0);
    expect(info.mappedBytes).toBeGreaterThan(0);
    expect(['ref', 'generic', 'avx2', 'avx512', 'avx512bf16']).toContain(info.isa);
    expect(info.version).toMatch(/^\d+\.\d+\.\d+/);
    await model.close();
  });

  const withVariable = async (name: string, value: string, body: () => Promise<unknown>): Promise<void> => {
    const before = process.env[name];
    process.env[name] = value;
    try {
      await body();
    } finally {
      if (before === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before;
    }
  };

  it('lets ELASTICLM_THREADS and ELASTICLM_ISA decide', async () => {
    const directory = write();
    await withVariable('ELASTICLM_THREADS', '3', async () => {
      await withVariable('ELASTICLM_ISA', 'ref', async () => {
        const model = await ElasticModel.load(directory);
        expect(model.info()).toMatchObject({ threads: 3, isa: 'ref' });
        await model.close();
      });
      const model = await ElasticModel.load(directory, { threads: 1 });
      expect(model.info().threads).toBe(1);
      await model.close();
    });
  });

  it.each([
    ['ELASTICLM_THREADS', 'many', 'ELASTICLM_ARGUMENT_INVALID'],
    ['ELASTICLM_THREADS', '-1', 'ELASTICLM_ARGUMENT_INVALID'],
    ['ELASTICLM_ISA', 'mmx', 'ELASTICLM_ISA_UNSUPPORTED'],
  ] as const)('refuses %s=%s', async (name, value, code) => {
    await withVariable(name, value, () =>
      expectRejection(ElasticModel.load(write()), code, new RegExp(value)),
    );
  });
});

describe('JSON files of a checkpoint', () => {
  it.each(['config.json', 'elastic.json', 'tokenizer_config.json', 'modules.json'])(
    'says which file is not JSON: %s',
    async (name) => {
      const directory = write();
      writeFileSync(join(directory, name), '{"a": ');
      const error = await ElasticModel.load(directory).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ name: 'ElasticError', message: expect.stringContaining(name) as string });
    },
  );
});
