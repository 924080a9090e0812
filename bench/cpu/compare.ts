/** One model beside its peers, shape by shape: what the parts speed and base have in common. */
import type { ElasticModel, PackedBatch } from '../../lib/index.js';
import type { Peer } from '../peers/peer.js';
import { alternate, median, medianSpeedup } from '../timing.js';
import type { BenchPrecision } from './options.js';
import { measurePeak, peakNameOf } from './peak.js';
import { fastestForms, pooledOptions, subjectOf, type SlowerForm } from './peers.js';
import type { Bar, Bars, Ratio } from './ratio.js';
import { batchFlops, makeBatch, sortedBatches } from './shapes.js';

/** What is measured with which loaded model. */
export interface Comparison {
  model: ElasticModel;
  precision: BenchPrecision;
  threads: number;
  peers: readonly Peer[];
  rounds: number;
  bars: Bars;
}

export interface ShapeCase {
  shape: string;
  lengths: readonly number[];
  /** of onnxruntime's time over ours */
  speedup: Bar;
  shareOfPeak: Bar;
  /** for a ragged shape: the peers also run it as length-sorted batches of `size` */
  sorted?: { size: number; speedup: Bar };
}

interface PeerResult {
  name: string;
  /** how the batch was given: 'whole' (padded to its longest sequence), or 'sorted 4x8' */
  batching: string;
  medianMs: number;
  /** its time over ours, round by round */
  speedup: Ratio;
  /** what the speed-up would be if we reached the whole measured peak; null without a peak */
  ceiling: number | null;
}

export interface ShapeResult {
  shape: string;
  medianMs: number;
  gflops: number;
  /** of one core, median over the rounds */
  peakGflops: number;
  /** gflops over the peak of as many cores as there are threads */
  shareOfPeak: Ratio;
  peers: PeerResult[];
  /** forms of a peer that were slower than another of its forms, in a trial of fewer rounds */
  slowerForms: SlowerForm[];
}

/** A peer with one way to cut the shape into batches. */
interface Contender {
  peer: Peer;
  batching: string;
  batches: PackedBatch[];
  bar: Bar;
}

export async function compareShape(comparison: Comparison, shapeCase: ShapeCase): Promise<ShapeResult> {
  const { model, precision, threads, rounds, bars } = comparison;
  const { shape, lengths } = shapeCase;
  const what = `${precision} ${shape}, ${threads} thread${threads === 1 ? '' : 's'}`;
  const batch = makeBatch(lengths, model.config.vocabSize);
  const { contenders, slower } = await chooseContenders(comparison, shapeCase, batch);
  const peakName = peakNameOf(precision, model.info().isa);
  const peaks: number[] = [];
  const { ms } = await alternate(
    [
      () => model.forward(batch, pooledOptions),
      ...contenders.map(({ peer, batches }) => subjectOf(peer, batches)),
    ],
    rounds,
    () => peaks.push(measurePeak(peakName)),
  );
  const [ownMs, ...contenderMs] = ms as [number[], ...number[][]];
  const flops = batchFlops(model.config, model.levels[0]!, lengths);
  const share = median(ownMs.map((time, round) => flops / time / 1e6 / (threads * peaks[round]!)));
  const medianMs = median(ownMs);
  const ceilingOver = (times: readonly number[]): number | null => {
    const ceiling = median(times.map((time, round) => (time * threads * peaks[round]! * 1e6) / flops));
    return Number.isNaN(ceiling) ? null : ceiling;
  };
  return {
    shape,
    medianMs,
    gflops: flops / medianMs / 1e6,
    peakGflops: median(peaks),
    shareOfPeak: bars.ratio(
      `${what}, share of peak`,
      share,
      Number.isNaN(share) ? {} : shapeCase.shareOfPeak, // no bar where there is no peak
    ),
    peers: contenders.map(({ peer, batching, bar }, i) => ({
      name: peer.name,
      batching,
      medianMs: median(contenderMs[i]!),
      speedup: bars.ratio(
        `${what}, over ${peer.name} (${batching})`,
        medianSpeedup(ownMs, contenderMs[i]!),
        bar,
      ),
      ceiling: ceilingOver(contenderMs[i]!),
    })),
    slowerForms: slower,
  };
}

async function chooseContenders(
  { model, peers }: Comparison,
  { lengths, speedup, sorted }: ShapeCase,
  batch: PackedBatch,
): Promise<{ contenders: Contender[]; slower: SlowerForm[] }> {
  const parts = (sorted === undefined ? [] : sortedBatches(lengths, sorted.size)).map((part) =>
    makeBatch(part, model.config.vocabSize),
  );
  const { kept, slower } = await fastestForms(peers, parts.length > 0 ? parts : [batch]);
  const contenders = kept.flatMap((peer) => {
    const only = (bar: Bar): Bar => (peer.runtime === 'onnxruntime' ? bar : {});
    const whole = { peer, batching: 'whole', batches: [batch], bar: only(speedup) };
    // one text after another is the same work in any order
    if (sorted === undefined || peer.runtime === 'node-llama-cpp') return [whole];
    const batching = `sorted ${parts.length}x${sorted.size}`;
    return [whole, { peer, batching, batches: parts, bar: only(sorted.speedup) }];
  });
  return { contenders, slower };
}
