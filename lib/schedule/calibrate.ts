/** The cost model's coefficients, from a quick profile of whatever runs the batches. */
import { fcnnlsVector } from 'ml-fcnnls';
import { ElasticError } from '../errors.js';
import type { CostCoefficients, LevelCost } from './cost-model.js';

/** Runs one batch of sequences of these lengths (tokens), all at one level, and tells how long it took, in ms. */
export type Measure = (levelIdx: number, lengths: readonly number[]) => Promise<number>;

export interface CalibrateOptions {
  numLevels: number;
  /** longest sequence that may come, in tokens */
  maxLength: number;
  /** time to spend, in ms; each shape is measured at least once. Default 2000 */
  budgetMs?: number | undefined;
}

/** Alone, where threads and caches are used least, and together; short and long. Longer ones than maxLength are cut to it. */
const shapes: readonly (readonly number[])[] = [
  [8],
  [32],
  [128],
  [512],
  Array<number>(16).fill(16),
  Array<number>(4).fill(64),
  Array<number>(2).fill(256),
];
const mostRounds = 9;

interface Sample {
  levelIdx: number;
  lengths: readonly number[];
  times: number[];
}

/**
 * Times of all shapes at all levels, in rounds as long as the budget lasts after one to warm up, and coefficients fitted to their
 * medians: least squares of relative errors, none below 0.
 * @throws what `measure` throws; ELASTICLM_INTERNAL_FAILED for times that are no numbers above 0
 */
export async function calibrate(measure: Measure, options: CalibrateOptions): Promise<CostCoefficients> {
  const { numLevels, maxLength, budgetMs = 2000 } = options;
  const samples: Sample[] = Array.from({ length: numLevels }, (_, levelIdx) =>
    shapes.map((shape) => ({
      levelIdx,
      lengths: shape.map((length) => Math.min(length, maxLength)),
      times: [],
    })),
  ).flat();
  const beginMs = performance.now();
  for (let round = 0; round <= mostRounds; ++round) {
    for (const { levelIdx, lengths, times } of samples) {
      const ms = await measure(levelIdx, lengths);
      if (!(ms > 0 && ms < Infinity)) throw badTime(ms);
      // The first round meets cold caches and pages: it counts only where there is time for no other.
      if (round === 1) times.length = 0;
      times.push(ms);
    }
    const roundMs = (performance.now() - beginMs) / (round + 1);
    if (performance.now() - beginMs + roundMs > budgetMs) break;
  }
  return fit(samples, numLevels);
}

/** One row for each sample, of its features over its time: what is fitted is then 1. */
function fit(samples: readonly Sample[], numLevels: number): CostCoefficients {
  const perLevel = 3;
  const rows = samples.map(({ levelIdx, lengths, times }) => {
    const ms = median(times);
    const row = new Array<number>(1 + perLevel * numLevels).fill(0);
    row[0] = 1 / ms;
    const at = 1 + perLevel * levelIdx;
    for (const tokens of lengths) {
      row[at]! += 1 / ms;
      row[at + 1]! += tokens / ms;
      row[at + 2]! += (tokens * tokens) / ms;
    }
    return row;
  });
  const solution = scaledSolution(rows);
  const levels = Array.from({ length: numLevels }, (_, levelIdx): LevelCost => {
    const [perSequenceMs, perTokenMs, perTokenSquareMs] = solution.slice(
      1 + perLevel * levelIdx,
      1 + perLevel * (levelIdx + 1),
    ) as [number, number, number];
    return { perSequenceMs, perTokenMs, perTokenSquareMs };
  });
  return { batchMs: solution[0]!, levels };
}

/** Columns are brought to one size first: squares of tokens and single batches lie six decades apart. */
function scaledSolution(rows: number[][]): number[] {
  const norms = rows[0]!.map((_, column) => Math.hypot(...rows.map((row) => row[column]!)));
  const scaled = rows.map((row) => row.map((value, column) => value / norms[column]!));
  const solved = fcnnlsVector(
    scaled,
    rows.map(() => 1),
  ).K.to1DArray();
  return solved.map((value, column) => value / norms[column]!);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function badTime(ms: number): ElasticError {
  return ElasticError.of('ELASTICLM_INTERNAL_FAILED', {
    expected: 'milliseconds above 0',
    subject: "the measured time of a calibration's batch",
    received: String(ms),
  });
}
