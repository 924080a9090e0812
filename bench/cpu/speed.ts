/** Parts speed (MiniLM-L6) and base (the shape of BERT-base): level 1 beside other runtimes on the same weights. */
import { ElasticModel } from '../../lib/index.js';
import { defaultModelDirectory } from '../../test/support/default-model.js';
import { burst, median } from '../timing.js';
import * as bar from './bars.js';
import { bertBase, peerModel, withScratch } from './checkpoints.js';
import { compareShape, type ShapeCase, type ShapeResult } from './compare.js';
import type { BenchPrecision } from './options.js';
import { measurePeak } from './peak.js';
import { checkPeers, closePeers, loadPeers, pooledOptions, type MissingPeer } from './peers.js';
import { Bars, type Ratio } from './ratio.js';
import { batchFlops, makeBatch, shapeNames, shapes } from './shapes.js';

export interface RunChoice {
  precision: BenchPrecision;
  threads: number;
  rounds: number;
}

interface SpeedRun {
  isa: string;
  rounds: number;
  shapes: ShapeResult[];
  /** worst cosine of each peer's vectors to ours in f32 */
  peerCosines: Record<string, number>;
  missingPeers: MissingPeer[];
  avx2?: Avx2Result;
  missed: string[];
}

interface Avx2Result {
  shape: string;
  medianMs: number;
  gflops: number;
  peakGflops: number;
  shareOfPeak: Ratio;
}

/** onnxruntime's length-sorted batches of the ragged shape. */
const sortedSize = 8;
/** Peers are checked on texts of several lengths, padding included. */
const checkedLengths = [8, 16, 24, 32, 40, 48, 56, 64];
const baseShapes = ['1x32', '1x128', '8x128'] as const;

export async function measureSpeed(choice: RunChoice): Promise<SpeedRun> {
  const { precision, threads } = choice;
  const cases = shapeNames.map((shape) => ({
    shape,
    lengths: shapes[shape],
    speedup: { atLeast: bar.miniLmSpeedups[shape][precision] },
    shareOfPeak:
      threads === 1 && bar.shareShapes.includes(shape) ? { atLeast: bar.sharesOfPeak[precision] } : {},
    ...(shape === 'ragged32'
      ? { sorted: { size: sortedSize, speedup: { atLeast: bar.sortedSpeedup[precision] } } }
      : {}),
  }));
  const run = await withScratch((scratch) => compare(defaultModelDirectory(), scratch, cases, choice));
  if (precision !== 'f32' || threads !== 1) return run;
  const bars = new Bars();
  const avx2 = await measureAvx2(choice.rounds, bars);
  return { ...run, ...(avx2 === undefined ? {} : { avx2 }), missed: [...run.missed, ...bars.missed] };
}

export function measureBase(choice: RunChoice): Promise<SpeedRun> {
  const cases = baseShapes.map((shape) => ({
    shape,
    lengths: shapes[shape],
    speedup: { atLeast: bar.bertBaseSpeedup[choice.precision] },
    shareOfPeak: {},
  }));
  return withScratch((scratch) => compare(bertBase(scratch), scratch, cases, choice));
}

async function compare(
  directory: string,
  scratch: string,
  cases: readonly ShapeCase[],
  { precision, threads, rounds }: RunChoice,
): Promise<SpeedRun> {
  await using model = await ElasticModel.load(directory, { backend: 'cpu', precision, threads });
  const loaded = await loadPeers(await peerModel(model, scratch), precision, threads);
  const bars = new Bars();
  try {
    const peerCosines = await cosinesOf(directory, loaded.peers, precision);
    const results: ShapeResult[] = [];
    for (const shapeCase of cases) {
      results.push(
        await compareShape({ model, precision, threads, peers: loaded.peers, rounds, bars }, shapeCase),
      );
    }
    return {
      isa: model.info().isa,
      rounds,
      shapes: results,
      peerCosines,
      missingPeers: loaded.missing,
      missed: bars.missed,
    };
  } finally {
    await closePeers(loaded);
  }
}

async function cosinesOf(
  directory: string,
  peers: Parameters<typeof checkPeers>[1],
  precision: BenchPrecision,
): Promise<Record<string, number>> {
  await using reference = await ElasticModel.load(directory, { backend: 'cpu', precision: 'f32' });
  const batch = makeBatch(checkedLengths, reference.config.vocabSize);
  const cosines = await checkPeers(reference, peers, batch, precision);
  return Object.fromEntries(peers.map(({ name }, i) => [name, cosines[i]!]));
}

/** The path for processors without AVX-512, beside its own peak. Undefined where it is not there or was chosen anyway. */
async function measureAvx2(rounds: number, bars: Bars): Promise<Avx2Result | undefined> {
  const named = process.env['ELASTICLM_ISA'];
  if (named !== undefined || Number.isNaN(measurePeak('avx2F32'))) return undefined;
  process.env['ELASTICLM_ISA'] = 'avx2';
  try {
    await using model = await ElasticModel.load(defaultModelDirectory(), {
      backend: 'cpu',
      precision: 'f32',
      threads: 1,
    });
    const { shape, atLeast } = bar.avx2ShareOfPeak;
    const batch = makeBatch(shapes[shape], model.config.vocabSize);
    const flops = batchFlops(model.config, model.levels[0]!, shapes[shape]);
    const ms: number[] = [];
    const peaks: number[] = [];
    for (let round = 0; round < rounds; round++) {
      peaks.push(measurePeak('avx2F32'));
      ms.push(await burst(() => model.forward(batch, pooledOptions)));
    }
    const share = median(ms.map((time, round) => flops / time / 1e6 / peaks[round]!));
    return {
      shape,
      medianMs: median(ms),
      gflops: flops / median(ms) / 1e6,
      peakGflops: median(peaks),
      shareOfPeak: bars.ratio(`f32 ${shape} on AVX2, share of its peak`, share, { atLeast }),
    };
  } finally {
    delete process.env['ELASTICLM_ISA'];
  }
}
