/** From importance to nested SubLMs: one global order of heads, one of neurons, and prefixes of both. */
import { describeValue, ElasticError } from '../errors.js';
import { checkFinite, type Importance } from './importance.js';

/** What a SubLM keeps: the first so many heads and neurons of each layer, in permuted order. */
export interface RankedLevel {
  /** preserving level p in (0, 1] */
  level: number;
  /** [L] */
  heads: number[];
  /** [L] */
  neurons: number[];
}

export interface Ranking {
  /** one entry per level asked for, in that order */
  levels: RankedLevel[];
  /** the new order within each layer: [L][H] and [L][F] old positions by falling importance */
  permutation: { heads: number[][]; neurons: number[][] };
}

/**
 * Ranks heads and neurons separately over the whole model: importance falling, ties by (layer, position). Level p keeps
 * the first round(p L H) heads and round(p L F) neurons, so that smaller levels lie within larger ones by construction,
 * and so that what a layer keeps is the beginning of its own permuted order.
 * @param importance finite, and comparable over layers: see activationImportance and normalizePerLayer
 * @param levels see checkLevels
 * @throws ELASTICLM_STRUCTURE_INVALID for importance that is not finite
 */
export function rankStructures(
  importance: Importance,
  numLayers: number,
  levels: readonly number[],
): Ranking {
  checkFinite(importance, numLayers);
  const heads = rankGlobally(importance.heads, numLayers);
  const neurons = rankGlobally(importance.neurons, numLayers);
  return {
    levels: levels.map((level) => ({
      level,
      heads: heads.countsAt(level),
      neurons: neurons.countsAt(level),
    })),
    permutation: { heads: heads.permutation, neurons: neurons.permutation },
  };
}

interface GlobalRanking {
  permutation: number[][];
  countsAt: (level: number) => number[];
}

function rankGlobally(values: Float64Array, numLayers: number): GlobalRanking {
  const width = values.length / numLayers;
  const order = Array.from(values, (_, idx) => idx).sort((a, b) => values[b]! - values[a]! || a - b);
  const permutation = Array.from({ length: numLayers }, (): number[] => []);
  for (const idx of order) permutation[Math.floor(idx / width)]!.push(idx % width);
  return {
    permutation,
    countsAt: (level) => {
      const counts = new Array<number>(numLayers).fill(0);
      for (const idx of order.slice(0, Math.round(level * values.length)))
        counts[Math.floor(idx / width)]! += 1;
      return counts;
    },
  };
}

/**
 * Levels falling, 1 among them whether asked for or not: an elastic checkpoint always holds its whole model.
 * @throws ELASTICLM_ARGUMENT_INVALID for a level outside (0, 1] or given twice
 */
export function checkLevels(levels: readonly number[]): number[] {
  const sorted = [...levels].sort((a, b) => b - a);
  for (const [idx, level] of sorted.entries()) {
    const twice = level === sorted[idx + 1];
    if (typeof level === 'number' && level > 0 && level <= 1 && !twice) continue;
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'different levels in (0, 1]',
      subject: 'levels',
      received: twice ? `${level} twice` : describeValue(level),
    });
  }
  return sorted[0] === 1 ? sorted : [1, ...sorted];
}

/**
 * The order that two permutations give one after the other: `second` permutes what `first` has already permuted.
 * Rows are layers; entries are old positions.
 */
export function composeOrders(first: readonly number[][], second: readonly number[][]): number[][] {
  return second.map((order, layer) => order.map((position) => first[layer]![position]!));
}
