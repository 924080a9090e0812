/** Semantic textual similarity: the cosine of two sentences' vectors against people's scores. */
import type { ElasticDenser } from '../heads/index.js';
import { pearson, spearman } from './correlation.js';
import { readGlue } from './glue.js';
import { resolveLevels, type LevelChoice } from './levels.js';

export interface StsOptions {
  denser: ElasticDenser;
  /** folder of STS-B's files, or of all GLUE tasks */
  data: string;
  /** default dev */
  split?: string | undefined;
  /** default all */
  levels?: LevelChoice | undefined;
  maxLength?: number | undefined;
  /** pairs done over all levels, of how many */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface StsResult {
  task: 'sts';
  level: number;
  examples: number;
  pearson: number;
  spearman: number;
}

/** One result per level; both sentences at the same level. @throws ELASTICLM_DATA_INVALID, ELASTICLM_LEVEL_UNKNOWN, … */
export async function* evaluateSts(options: StsOptions): AsyncGenerator<StsResult> {
  const { denser, maxLength, signal } = options;
  const levels = resolveLevels(options.levels ?? 'all', denser.model.levels);
  const texts: string[] = [];
  const targets: number[] = [];
  for await (const example of readGlue('stsb', options.data, options.split)) {
    texts.push(...(example.texts as readonly [string, string])); // stsb is a task of pairs
    targets.push(example.target);
  }
  for (const [idx, level] of levels.entries()) {
    const { data, dims } = await denser.encode(texts, { level, maxLength, signal });
    const cosines = targets.map((_, pair) => cosineOfRows(data, dims, 2 * pair));
    options.onProgress?.((idx + 1) * targets.length, levels.length * targets.length);
    yield {
      task: 'sts',
      level,
      examples: targets.length,
      pearson: pearson(cosines, targets),
      spearman: spearman(cosines, targets),
    };
  }
}

/** Cosine of rows `row` and `row + 1`; NaN when one of them is zero. */
function cosineOfRows(data: Float32Array, dims: number, row: number): number {
  let dot = 0;
  let firstSquares = 0;
  let secondSquares = 0;
  for (let i = row * dims; i < (row + 1) * dims; ++i) {
    const first = data[i]!;
    const second = data[i + dims]!;
    dot += first * second;
    firstSquares += first * first;
    secondSquares += second * second;
  }
  return dot / Math.sqrt(firstSquares * secondSquares);
}
