/** What sentence-transformers saves beside a checkpoint: how hidden states become one vector, and the length limit. */
import { join } from 'node:path';
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig, Pooling } from '../types.js';
import { childPath } from './child-path.js';
import {
  invalidField,
  isObject,
  readJsonIfThere,
  readObjectIfThere,
  type JsonObject,
  type JsonSource,
} from './json-file.js';

export interface PoolingFacts {
  pooling?: Pooling;
  normalize?: boolean;
}

/**
 * Reads `modules.json` and the pooling module's `config.json`; empty when there is no `modules.json`.
 * @throws ELASTICLM_CONFIG_UNSUPPORTED for a module or pooling that this library does not compute
 */
export async function readPoolingFacts(directory: string, config: EncoderConfig): Promise<PoolingFacts> {
  const source: JsonSource = { path: join(directory, 'modules.json'), code: 'ELASTICLM_CONFIG_INVALID' };
  const modules = await readJsonIfThere(source);
  if (modules === undefined) return {};
  if (!Array.isArray(modules)) throw invalidField(source, 'the whole file', 'an array of modules', modules);
  const facts: PoolingFacts = { normalize: false };
  for (const [position, item] of (modules as unknown[]).entries()) {
    const field = `[${position}]`;
    if (!isObject(item)) throw invalidField(source, field, 'a module', item);
    const { type, path } = item;
    if (typeof type !== 'string') throw invalidField(source, `${field}.type`, 'a class name', type);
    const kind = type.slice(type.lastIndexOf('.') + 1);
    if (kind === 'Pooling') {
      if (typeof path !== 'string') throw invalidField(source, `${field}.path`, 'a folder', path);
      const folder = childPath(directory, path, source);
      facts.pooling = await readPooling(join(folder, 'config.json'), config);
    } else if (kind === 'Normalize') {
      facts.normalize = true;
    } else if (kind !== 'Transformer') {
      throw ElasticError.of('ELASTICLM_CONFIG_UNSUPPORTED', {
        expected: 'the modules Transformer, Pooling and Normalize',
        subject: `${field}.type in ${source.path}`,
        received: describeValue(type),
      });
    }
  }
  return facts;
}

async function readPooling(path: string, config: EncoderConfig): Promise<Pooling> {
  const source: JsonSource = { path, code: 'ELASTICLM_CONFIG_INVALID' };
  const root = await readObjectIfThere(source);
  if (root === undefined) {
    throw ElasticError.of('ELASTICLM_FILE_NOT_FOUND', {
      expected: 'the configuration of the pooling module that modules.json lists',
      subject: path,
      received: 'no such file',
    });
  }
  const dims = root.word_embedding_dimension;
  if (dims !== undefined && dims !== config.hiddenSize) {
    throw invalidField(source, 'word_embedding_dimension', `hidden_size, ${config.hiddenSize}`, dims);
  }
  const modes = poolingModes(root);
  if (modes.length === 1 && modes[0] === 'cls_token') return 'cls';
  if (modes.length === 1 && modes[0] === 'mean_tokens') return 'mean';
  throw ElasticError.of('ELASTICLM_CONFIG_UNSUPPORTED', {
    expected: 'either pooling_mode_cls_token or pooling_mode_mean_tokens',
    subject: path,
    received: modes.length === 0 ? 'no pooling mode' : modes.map((mode) => `pooling_mode_${mode}`).join(', '),
  });
}

function poolingModes(root: JsonObject): string[] {
  const prefix = 'pooling_mode_';
  const on = Object.keys(root).filter((key) => key.startsWith(prefix) && root[key] === true);
  return on.map((key) => key.slice(prefix.length));
}

/** The largest number of tokens that sentence-transformers or the tokenizer allow, where they say so. */
export async function readMaxLength(directory: string): Promise<number | undefined> {
  for (const [name, field] of [
    ['sentence_bert_config.json', 'max_seq_length'],
    ['tokenizer_config.json', 'model_max_length'],
  ] as const) {
    const source: JsonSource = { path: join(directory, name), code: 'ELASTICLM_CONFIG_INVALID' };
    const value = (await readObjectIfThere(source))?.[field];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'number' || !(value >= 1))
      throw invalidField(source, field, 'a number of tokens', value);
    // Tokenizers without a limit store 1e30: no limit at all.
    if (Number.isSafeInteger(value)) return value;
  }
  return undefined;
}
