/** Finds out what a checkpoint's folder holds, before any weight is read. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';
import type { EncoderConfig, Pooling } from '../types.js';
import { childPath } from './child-path.js';
import { readConfig } from './config-file.js';
import { elasticFileName, readElasticFile, type ElasticFile } from './elastic-file.js';
import { invalidField, isMissing, isObject, readObjectIfThere, type JsonSource } from './json-file.js';
import { readMaxLength, readPoolingFacts } from './sentence-transformers.js';

/** A checkpoint's folder as its JSON files describe it. */
export interface CheckpointFiles {
  readonly directory: string;
  readonly config: EncoderConfig;
  /** paths of the safetensors files, one or the shards */
  readonly files: readonly string[];
  /** size of those files together */
  readonly fileBytes: number;
  /** how hidden states become one vector: elastic.json, else sentence-transformers' modules; absent when neither says */
  readonly pooling?: Pooling;
  readonly normalize?: boolean;
  /** the default limit on tokens: elastic.json, sentence_bert_config.json, tokenizer_config.json, position embeddings */
  readonly maxLength: number;
  /** label names by their id, where config.json lists them */
  readonly id2label?: readonly string[];
  readonly architectures: readonly string[];
  readonly elastic?: ElasticFile;
}

const singleFileName = 'model.safetensors';
const shardIndexName = 'model.safetensors.index.json';

/** @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_CONFIG_UNSUPPORTED, ELASTICLM_CONFIG_INVALID, ELASTICLM_ELASTIC_INVALID, … */
export async function readCheckpoint(directory: string): Promise<CheckpointFiles> {
  const configPath = join(directory, 'config.json');
  const root = await readObjectIfThere({ path: configPath, code: 'ELASTICLM_CONFIG_INVALID' });
  if (root === undefined) {
    throw ElasticError.of('ELASTICLM_FILE_NOT_FOUND', {
      expected: "a checkpoint's folder with a config.json",
      subject: directory,
      received: 'no such file',
      remedy: 'Give the folder that holds config.json and model.safetensors',
    });
  }
  const { config, ...facts } = readConfig(root, configPath);
  const files = await findWeights(directory);
  const elastic = await readElasticFile(join(directory, elasticFileName), config);
  const modules = await readPoolingFacts(directory, config);
  const pooling = elastic?.pooling ?? modules.pooling;
  const normalize = elastic?.normalize ?? modules.normalize;
  const limit = elastic?.maxLength ?? (await readMaxLength(directory)) ?? config.maxPositionEmbeddings;
  return {
    directory,
    config,
    ...facts,
    files,
    fileBytes: await totalBytes(files),
    maxLength: Math.min(limit, config.maxPositionEmbeddings),
    ...(pooling === undefined ? {} : { pooling }),
    ...(normalize === undefined ? {} : { normalize }),
    ...(elastic === undefined ? {} : { elastic }),
  };
}

/** `model.safetensors`, else the shards that its index lists, else the one file with another name. */
async function findWeights(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.safetensors')).sort();
  if (names.includes(singleFileName)) return [join(directory, singleFileName)];
  const shards = await readShards(directory);
  if (shards !== undefined) return shards;
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return [join(directory, only)];
  throw ElasticError.of('ELASTICLM_FILE_NOT_FOUND', {
    expected: `${singleFileName}, ${shardIndexName} or exactly one other .safetensors file`,
    subject: directory,
    received: names.length === 0 ? 'none' : names.slice(0, 5).join(', '),
    remedy: names.length === 0 ? 'Weights are read from safetensors files only' : 'Rename the one to load',
  });
}

async function readShards(directory: string): Promise<string[] | undefined> {
  const source: JsonSource = { path: join(directory, shardIndexName), code: 'ELASTICLM_CHECKPOINT_INVALID' };
  const root = await readObjectIfThere(source);
  if (root === undefined) return undefined;
  const map = root.weight_map;
  if (!isObject(map)) throw invalidField(source, 'weight_map', 'an object from tensors to files', map);
  const names = new Set<string>();
  for (const [tensor, name] of Object.entries(map)) {
    if (typeof name !== 'string' || !name.endsWith('.safetensors')) {
      throw invalidField(
        source,
        `weight_map["${tensor.slice(0, 60)}"]`,
        'the name of a .safetensors file',
        name,
      );
    }
    names.add(name);
  }
  if (names.size === 0) throw invalidField(source, 'weight_map', 'at least one tensor', map);
  return [...names].sort().map((name) => childPath(directory, name, source));
}

async function totalBytes(files: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const path of files) {
    try {
      bytes += (await stat(path)).size;
    } catch (cause) {
      throw ElasticError.of(
        isMissing(cause) ? 'ELASTICLM_FILE_NOT_FOUND' : 'ELASTICLM_FILE_UNREADABLE',
        {
          expected: 'a file of weights',
          subject: path,
          received: cause instanceof Error ? cause.message : String(cause),
        },
        { cause },
      );
    }
  }
  return bytes;
}
