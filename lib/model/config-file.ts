/** `config.json` of a BERT-family checkpoint: the numbers that decide the computation, and what this library cannot run. */
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig } from '../types.js';
import { invalidField, isObject, type JsonObject, type JsonSource } from './json-file.js';

/** Sizes are 31-bit counts in native code. */
const maxSize = 2 ** 31 - 1;
/** The deepest encoders have under a hundred layers; what is kept per layer must not grow with a wrong number. */
const maxLayers = 1024;

export interface ConfigFacts {
  config: EncoderConfig;
  /** class names that the checkpoint was saved from */
  architectures: readonly string[];
  /** label names by their id, where the file lists them */
  id2label?: readonly string[];
}

/** @throws ELASTICLM_CONFIG_UNSUPPORTED, ELASTICLM_CONFIG_INVALID naming the field */
export function readConfig(root: JsonObject, path: string): ConfigFacts {
  const source: JsonSource = { path, code: 'ELASTICLM_CONFIG_INVALID' };
  const architectures = readArchitectures(root, source);
  checkSupported(root, architectures, path);
  const size = (field: string, limit = maxSize): number => {
    const value = root[field];
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= limit) return value;
    throw invalidField(source, field, `a whole number from 1 to ${limit}`, value);
  };
  const hiddenSize = size('hidden_size');
  const numHeads = size('num_attention_heads');
  if (hiddenSize % numHeads !== 0) {
    throw invalidField(source, 'num_attention_heads', `a divisor of hidden_size, ${hiddenSize}`, numHeads);
  }
  const config: EncoderConfig = {
    vocabSize: size('vocab_size'),
    hiddenSize,
    numLayers: size('num_hidden_layers', maxLayers),
    numHeads,
    headDim: hiddenSize / numHeads,
    intermediateSize: size('intermediate_size'),
    maxPositionEmbeddings: size('max_position_embeddings'),
    typeVocabSize: size('type_vocab_size'),
    layerNormEps: readEps(root, source),
  };
  const id2label = readLabels(root, source);
  return { config, architectures, ...(id2label === undefined ? {} : { id2label }) };
}

function readArchitectures(root: JsonObject, source: JsonSource): readonly string[] {
  const { architectures } = root;
  if (architectures === undefined || architectures === null) return [];
  if (Array.isArray(architectures) && architectures.every((name) => typeof name === 'string')) {
    return architectures;
  }
  throw invalidField(source, 'architectures', 'an array of class names', architectures);
}

function readEps(root: JsonObject, source: JsonSource): number {
  const eps = root.layer_norm_eps ?? 1e-12; // BertConfig's default, left out by the oldest files
  if (typeof eps === 'number' && eps > 0 && eps < 1) return eps;
  throw invalidField(source, 'layer_norm_eps', 'a number between 0 and 1', eps);
}

function readLabels(root: JsonObject, source: JsonSource): readonly string[] | undefined {
  const { id2label } = root;
  if (id2label === undefined || id2label === null) return undefined;
  if (!isObject(id2label)) throw invalidField(source, 'id2label', 'an object from ids to names', id2label);
  return Object.keys(id2label).map((_, id) => {
    const name = Object.hasOwn(id2label, id) ? id2label[id] : undefined;
    if (typeof name === 'string') return name;
    throw invalidField(source, `id2label["${id}"]`, 'a name for each id from 0 up', name);
  });
}

/** A field that must have one of these values, or be left out. */
interface Rule {
  field: string;
  expected: string;
  holds: (value: unknown) => boolean;
}

const rules: readonly Rule[] = [
  { field: 'hidden_act', expected: '"gelu", the exact one', holds: (value) => value === 'gelu' },
  {
    field: 'position_embedding_type',
    expected: '"absolute"',
    holds: (value) => value === 'absolute',
  },
  { field: 'is_decoder', expected: 'false: this library runs encoders', holds: isOff },
  { field: 'add_cross_attention', expected: 'false: this library runs encoders', holds: isOff },
  { field: 'quantization_config', expected: 'no quantised weights', holds: isOff },
  {
    field: 'pruned_heads',
    expected: 'no pruned heads: levels keep the whole model',
    holds: (value) => isOff(value) || (isObject(value) && Object.keys(value).length === 0),
  },
];

function isOff(value: unknown): boolean {
  return value === false || value === null;
}

function checkSupported(root: JsonObject, architectures: readonly string[], path: string): void {
  const modelType = root.model_type;
  const isBert =
    modelType === undefined ? architectures.some((name) => name.startsWith('Bert')) : modelType === 'bert';
  if (!isBert) {
    const field = modelType === undefined ? 'architectures' : 'model_type';
    const expected = modelType === undefined ? 'a class of BERT, such as "BertModel"' : '"bert"';
    throw unsupported(path, field, expected, root[field]);
  }
  for (const { field, expected, holds } of rules) {
    const value = root[field];
    if (value !== undefined && !holds(value)) throw unsupported(path, field, expected, value);
  }
}

function unsupported(path: string, field: string, expected: string, value: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_CONFIG_UNSUPPORTED', {
    expected,
    subject: `${field} in ${path}`,
    received: describeValue(value),
    remedy: 'Choose a checkpoint of the BERT family',
  });
}
