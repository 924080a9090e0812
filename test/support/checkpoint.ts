/** Writes small checkpoints with seeded random weights, in every form that a loader must read. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialiseElasticFile, type ElasticFile } from '../../lib/model/index.js';
import type { EncoderConfig } from '../../lib/types.js';
import { Random } from './random.js';
import { stored, writeSafetensors, type StoredDtype, type Tensors } from './safetensors.js';
import { tinyVocabulary, writeTinyTokenizer } from './tokenizer.js';

export interface TinyCheckpoint {
  layers?: number;
  heads?: number;
  headDim?: number;
  neurons?: number;
  vocabSize?: number;
  maxPositions?: number;
  /** rows of a classifier; with it the architecture is BertForSequenceClassification */
  labels?: number;
  /** whether there is a pooler; default: true */
  pooler?: boolean;
  /** before every encoder tensor's name, e.g. 'bert.' */
  prefix?: string;
  dtype?: StoredDtype;
  /** write this many files and a model.safetensors.index.json */
  shards?: number;
  /** the weights' file name; default 'model.safetensors' */
  fileName?: string;
  elastic?: ElasticFile;
  /** added to config.json */
  config?: Record<string, unknown>;
  seed?: number;
}

export interface WrittenCheckpoint {
  directory: string;
  config: EncoderConfig;
  files: string[];
  /** the stored values, by their name without prefix */
  tensors: Tensors;
}

/** Makes `directory` a checkpoint with config.json, weights, vocab.txt, tokenizer.json and, if given, elastic.json. */
export function writeTinyCheckpoint(directory: string, options: TinyCheckpoint = {}): WrittenCheckpoint {
  mkdirSync(directory, { recursive: true });
  const config = configOf(options);
  const tensors = randomTensors(config, options);
  const files = writeWeights(directory, tensors, options);
  const architecture = options.labels === undefined ? 'BertModel' : 'BertForSequenceClassification';
  writeJson(join(directory, 'config.json'), {
    architectures: [architecture],
    model_type: 'bert',
    hidden_act: 'gelu',
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    layer_norm_eps: config.layerNormEps,
    max_position_embeddings: config.maxPositionEmbeddings,
    num_attention_heads: config.numHeads,
    num_hidden_layers: config.numLayers,
    position_embedding_type: 'absolute',
    type_vocab_size: config.typeVocabSize,
    vocab_size: config.vocabSize,
    ...labelsOf(options.labels),
    ...options.config,
  });
  writeTinyTokenizer(directory, tinyVocabulary(config.vocabSize), config.maxPositionEmbeddings);
  if (options.elastic !== undefined) {
    writeFileSync(join(directory, 'elastic.json'), serialiseElasticFile(options.elastic));
  }
  return { directory, config, files, tensors };
}

/** Level 1 and one nested level for each given one: the first round(p · n) heads and neurons of each layer. */
export function evenLevels(config: EncoderConfig, levels: readonly number[]): ElasticFile {
  const counts = (level: number, size: number): number[] =>
    Array<number>(config.numLayers).fill(Math.round(level * size));
  return {
    levels: [1, ...levels].map((level) => ({
      level,
      heads: counts(level, config.numHeads),
      neurons: counts(level, config.intermediateSize),
    })),
  };
}

/** The configuration that `writeTinyCheckpoint` gives such a checkpoint. */
export function configOf(options: TinyCheckpoint = {}): EncoderConfig {
  const numHeads = options.heads ?? 4;
  const headDim = options.headDim ?? 8;
  return {
    vocabSize: options.vocabSize ?? 160,
    hiddenSize: numHeads * headDim,
    numLayers: options.layers ?? 2,
    numHeads,
    headDim,
    intermediateSize: options.neurons ?? 72,
    maxPositionEmbeddings: options.maxPositions ?? 64,
    typeVocabSize: 2,
    layerNormEps: 1e-12,
  };
}

export function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

function labelsOf(labels: number | undefined): Record<string, unknown> {
  if (labels === undefined) return {};
  const names = Array.from({ length: labels }, (_, id) => [String(id), `label-${id}`]);
  const ids = names.map(([id, name]) => [name, Number(id)]);
  return { id2label: Object.fromEntries(names) as unknown, label2id: Object.fromEntries(ids) as unknown };
}

function randomTensors(config: EncoderConfig, options: TinyCheckpoint): Tensors {
  const random = new Random(options.seed ?? 1);
  const dtype = options.dtype ?? 'F32';
  const tensors: Tensors = new Map();
  const { hiddenSize: E, intermediateSize: F } = config;
  const add = (name: string, shape: number[], deviation: number, mean = 0): void => {
    const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < values.length; ++i) values[i] = stored(mean + deviation * random.normal(), dtype);
    tensors.set(name, { shape, values });
  };
  const linear = (name: string, rows: number, columns: number): void => {
    add(`${name}.weight`, [rows, columns], 1 / Math.sqrt(columns)); // keeps outputs of order 1
    add(`${name}.bias`, [rows], 0.1);
  };
  const layerNorm = (name: string): void => {
    add(`${name}.weight`, [E], 0.1, 1);
    add(`${name}.bias`, [E], 0.1);
  };
  add('embeddings.word_embeddings.weight', [config.vocabSize, E], 1);
  add('embeddings.position_embeddings.weight', [config.maxPositionEmbeddings, E], 0.3);
  add('embeddings.token_type_embeddings.weight', [config.typeVocabSize, E], 0.3);
  layerNorm('embeddings.LayerNorm');
  for (let layer = 0; layer < config.numLayers; ++layer) {
    const name = `encoder.layer.${layer}`;
    for (const part of ['query', 'key', 'value']) linear(`${name}.attention.self.${part}`, E, E);
    linear(`${name}.attention.output.dense`, E, E);
    layerNorm(`${name}.attention.output.LayerNorm`);
    linear(`${name}.intermediate.dense`, F, E);
    linear(`${name}.output.dense`, E, F);
    layerNorm(`${name}.output.LayerNorm`);
  }
  if (options.pooler ?? true) linear('pooler.dense', E, E);
  if (options.labels !== undefined) linear('classifier', options.labels, E);
  for (const { adapter } of options.elastic?.levels ?? []) {
    if (adapter !== undefined) linear(`elastic_adapters.${adapter}`, E, E);
  }
  return tensors;
}

function writeWeights(directory: string, tensors: Tensors, options: TinyCheckpoint): string[] {
  const dtype = options.dtype ?? 'F32';
  const shards = options.shards ?? 1;
  const named = [...tensors].map(([name, tensor]) => {
    const outside = name.startsWith('classifier.');
    return [outside ? name : `${options.prefix ?? ''}${name}`, tensor] as const;
  });
  if (shards === 1) {
    const path = join(directory, options.fileName ?? 'model.safetensors');
    writeSafetensors(path, new Map(named), dtype);
    return [path];
  }
  const weightMap: Record<string, string> = {};
  const files: string[] = [];
  for (let shard = 0; shard < shards; ++shard) {
    const number = (position: number): string => String(position).padStart(5, '0');
    const fileName = `model-${number(shard + 1)}-of-${number(shards)}.safetensors`;
    const part = new Map(named.filter((_, position) => position % shards === shard));
    for (const name of part.keys()) weightMap[name] = fileName;
    files.push(join(directory, fileName));
    writeSafetensors(join(directory, fileName), part, dtype);
  }
  writeJson(join(directory, 'model.safetensors.index.json'), { metadata: {}, weight_map: weightMap });
  return files;
}
