/** `elastic.json`: the levels of a checkpoint and where they come from. */
import type { EncoderConfig, Pooling } from '../types.js';
import {
  invalidField,
  isObject,
  parseJson,
  readJsonIfThere,
  type JsonObject,
  type JsonSource,
} from './json-file.js';

/** One SubLM as the file lists it: how many of each layer's first heads and neurons it keeps. */
export interface ElasticLevel {
  level: number;
  heads: number[];
  neurons: number[];
  /** the checkpoint's `elastic_adapters.N` that this level's pooled vectors pass through; absent: none */
  adapter?: number;
}

/** How heads and neurons were ranked. */
export interface ElasticImportance {
  method: string;
  loss?: string;
  examples?: number;
  seed?: number;
}

/** A task's metric at some levels; keys are levels as JSON numbers print them ("1", "0.5"). */
export interface ElasticQuality {
  task: string;
  metric: string;
  byLevel: Record<string, number>;
}

export interface ElasticFile {
  /** falling, nested; the first is 1 and keeps everything */
  levels: ElasticLevel[];
  importance?: ElasticImportance;
  /** old places in new order, as the weights were permuted: [L][H] and [L][F] */
  permutation?: { heads: number[][]; neurons: number[][] };
  pooling?: Pooling;
  normalize?: boolean;
  maxLength?: number;
  quality?: ElasticQuality[];
}

const formatName = 'elasticlm';
const formatVersion = 1;
export const elasticFileName = 'elastic.json';

/** @throws ELASTICLM_ELASTIC_INVALID naming the file, what was expected and what was found */
export async function readElasticFile(path: string, config: EncoderConfig): Promise<ElasticFile | undefined> {
  const source = sourceOf(path);
  const value = await readJsonIfThere(source);
  return value === undefined ? undefined : new Reader(source, config).file(value);
}

/** Checks a file that is about to be written by the same rules as one that is read. */
export function checkElasticFile(file: ElasticFile, path: string, config: EncoderConfig): void {
  const source = sourceOf(path);
  new Reader(source, config).file(parseJson(serialiseElasticFile(file), source));
}

/** One line per level and per permuted layer, so that a difference between two files can be read. */
export function serialiseElasticFile(file: ElasticFile): string {
  const fields: [string, string][] = [
    ['format', JSON.stringify(formatName)],
    ['version', JSON.stringify(formatVersion)],
    [
      'levels',
      lines(file.levels.map(({ level, heads, neurons, adapter }) => ({ level, heads, neurons, adapter }))),
    ],
  ];
  const add = (name: string, value: unknown): void => {
    if (value !== undefined) fields.push([name, JSON.stringify(value)]);
  };
  add('importance', file.importance);
  if (file.permutation !== undefined) {
    const { heads, neurons } = file.permutation;
    fields.push(['permutation', `{"heads": ${lines(heads)}, "neurons": ${lines(neurons)}}`]);
  }
  add('pooling', file.pooling);
  add('normalize', file.normalize);
  add('max_length', file.maxLength);
  add(
    'quality',
    file.quality?.map(({ task, metric, byLevel }) => ({ task, metric, by_level: byLevel })),
  );
  const body = fields.map(([name, text]) => `  ${JSON.stringify(name)}: ${text}`).join(',\n');
  return `{\n${body}\n}\n`;
}

function lines(items: readonly unknown[]): string {
  return `[\n${items.map((item) => `    ${JSON.stringify(item)}`).join(',\n')}\n  ]`;
}

function sourceOf(path: string): JsonSource {
  return { path, code: 'ELASTICLM_ELASTIC_INVALID' };
}

/** Far more than anybody has levels; what native code counts with holds it. */
const maxAdapter = 9999;

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);

class Reader {
  readonly #source: JsonSource;
  readonly #config: EncoderConfig;

  constructor(source: JsonSource, config: EncoderConfig) {
    this.#source = source;
    this.#config = config;
  }

  file(value: unknown): ElasticFile {
    const root = this.#object(value, 'the whole file');
    if (root.format !== formatName) this.#fail('format', JSON.stringify(formatName), root.format);
    if (root.version !== formatVersion) {
      this.#fail('version', `${formatVersion}, the one version this release reads`, root.version);
    }
    const file: ElasticFile = { levels: this.#levels(root.levels) };
    if (root.importance !== undefined) file.importance = this.#importance(root.importance);
    if (root.permutation !== undefined) file.permutation = this.#permutation(root.permutation);
    const { pooling, normalize, max_length: maxLength } = root;
    if (pooling !== undefined) {
      if (pooling !== 'cls' && pooling !== 'mean') this.#fail('pooling', '"cls" or "mean"', pooling);
      file.pooling = pooling;
    }
    if (normalize !== undefined) {
      if (typeof normalize !== 'boolean') this.#fail('normalize', 'true or false', normalize);
      file.normalize = normalize;
    }
    if (maxLength !== undefined) {
      const bound = this.#config.maxPositionEmbeddings;
      if (!isWhole(maxLength) || maxLength < 1 || maxLength > bound) {
        this.#fail('max_length', `a whole number from 1 to max_position_embeddings, ${bound}`, maxLength);
      }
      file.maxLength = maxLength;
    }
    if (root.quality !== undefined) file.quality = this.#quality(root.quality);
    return file;
  }

  #levels(value: unknown): ElasticLevel[] {
    const list = this.#array(value, 'levels');
    if (list.length === 0) this.#fail('levels', 'at least the level 1', value);
    const { numHeads, intermediateSize } = this.#config;
    const levels: ElasticLevel[] = [];
    for (const [position, item] of list.entries()) {
      const field = `levels[${position}]`;
      const fields = this.#object(item, field);
      const level = fields.level;
      const above = levels.at(-1);
      const rule = above === undefined ? '1, the whole model' : `a number below ${above.level} and above 0`;
      const fits = above === undefined ? level === 1 : Number(level) > 0 && Number(level) < above.level;
      if (typeof level !== 'number' || !fits) this.#fail(`${field}.level`, rule, level);
      const { adapter } = fields;
      if (adapter !== undefined && !(isWhole(adapter) && adapter >= 0 && adapter <= maxAdapter)) {
        this.#fail(`${field}.adapter`, `a whole number from 0 to ${maxAdapter}`, adapter);
      }
      levels.push({
        level,
        heads: this.#counts(fields.heads, `${field}.heads`, { size: numHeads, above: above?.heads }),
        neurons: this.#counts(fields.neurons, `${field}.neurons`, {
          size: intermediateSize,
          above: above?.neurons,
        }),
        ...(adapter === undefined ? {} : { adapter }),
      });
    }
    return levels;
  }

  /** Counts of one level: all of `size` at level 1, below that nested in the level above. */
  #counts(value: unknown, field: string, limits: { size: number; above: number[] | undefined }): number[] {
    const { numLayers } = this.#config;
    const list = this.#array(value, field);
    if (list.length !== numLayers) this.#fail(field, `one count for each of ${numLayers} layers`, value);
    return list.map((count, layer) => {
      const place = `${field}[${layer}]`;
      if (limits.above === undefined) {
        if (count !== limits.size) this.#fail(place, `${limits.size}: level 1 keeps everything`, count);
        return limits.size;
      }
      const bound = limits.above[layer] ?? 0;
      if (!isWhole(count) || count < 0 || count > bound) {
        this.#fail(place, `a whole number from 0 to ${bound}, the count of the level above`, count);
      }
      return count;
    });
  }

  #importance(value: unknown): ElasticImportance {
    const { method, loss, examples, seed } = this.#object(value, 'importance');
    if (typeof method !== 'string') this.#fail('importance.method', 'a name', method);
    const importance: ElasticImportance = { method };
    if (loss !== undefined) {
      if (typeof loss !== 'string') this.#fail('importance.loss', 'a name', loss);
      importance.loss = loss;
    }
    if (examples !== undefined) {
      if (!isWhole(examples) || examples < 0) this.#fail('importance.examples', 'a whole number', examples);
      importance.examples = examples;
    }
    if (seed !== undefined) {
      if (!isWhole(seed)) this.#fail('importance.seed', 'a whole number', seed);
      importance.seed = seed;
    }
    return importance;
  }

  #permutation(value: unknown): { heads: number[][]; neurons: number[][] } {
    const { heads, neurons } = this.#object(value, 'permutation');
    const { numHeads, intermediateSize } = this.#config;
    return {
      heads: this.#orders(heads, 'permutation.heads', numHeads),
      neurons: this.#orders(neurons, 'permutation.neurons', intermediateSize),
    };
  }

  #orders(value: unknown, field: string, size: number): number[][] {
    const { numLayers } = this.#config;
    const layers = this.#array(value, field);
    if (layers.length !== numLayers) this.#fail(field, `one list for each of ${numLayers} layers`, value);
    return layers.map((item, layer) => {
      const order = this.#array(item, `${field}[${layer}]`);
      const rule = `each number from 0 to ${size - 1} once`;
      if (order.length !== size) this.#fail(`${field}[${layer}]`, rule, item);
      const seen = new Uint8Array(size);
      return order.map((old, place) => {
        if (!isWhole(old) || old < 0 || old >= size || seen[old] === 1) {
          this.#fail(`${field}[${layer}][${place}]`, rule, old);
        }
        seen[old] = 1;
        return old;
      });
    });
  }

  #quality(value: unknown): ElasticQuality[] {
    return this.#array(value, 'quality').map((item, position) => {
      const field = `quality[${position}]`;
      const { task, metric, by_level: byLevel } = this.#object(item, field);
      if (typeof task !== 'string') this.#fail(`${field}.task`, 'a name', task);
      if (typeof metric !== 'string') this.#fail(`${field}.metric`, 'a name', metric);
      const entries = Object.entries(this.#object(byLevel, `${field}.by_level`));
      const figures = entries.map(([level, figure]): [string, number] => {
        if (typeof figure !== 'number') this.#fail(`${field}.by_level["${level}"]`, 'a number', figure);
        return [level, figure];
      });
      return { task, metric, byLevel: Object.fromEntries(figures) };
    });
  }

  #object(value: unknown, field: string): JsonObject {
    if (isObject(value)) return value;
    return this.#fail(field, 'an object', value);
  }

  #array(value: unknown, field: string): readonly unknown[] {
    if (Array.isArray(value)) return value as unknown[];
    return this.#fail(field, 'an array', value);
  }

  #fail(field: string, expected: string, value: unknown): never {
    throw invalidField(this.#source, field, expected, value);
  }
}
