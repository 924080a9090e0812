/** What a log of requests comes to. */
import { Slices } from '../../slices.js';
import type { LevelQuality } from '../types.js';
import { LatencyHistogram } from './latency-histogram.js';
import type { RequestLog, RequestOutcome, RequestRecord } from './request-log.js';

export interface Summary {
  /** all requests that came: met + late + refused + expired */
  offered: number;
  /** taken: met + late + expired */
  admitted: number;
  /** answered by their deadline */
  met: number;
  /** answered after it */
  late: number;
  /** not taken */
  refused: number;
  /** taken, and not answered since their deadline passed while they waited */
  expired: number;
  /** met over offered, and over admitted: what all who ask see, and what those see who are not refused; null without any */
  attainmentOfOffered: number | null;
  attainmentOfAdmitted: number | null;
  /** quality of the met ones' levels, summed, over offered: whoever is late, refused or expired counts 0 */
  effectiveQuality: number | null;
  /** from arrival to answer, of those that were answered; null without any */
  latencyMs: LatencySummary | null;
  /** from arrival to the start of their batch, mean of those that were answered */
  meanQueueDelayMs: number | null;
  /** of those that were answered */
  meanLevel: number | null;
  answeredByLevel: { level: number; count: number }[];
  batches: number;
  meanBatchSize: number | null;
  /** time in which a batch ran, over the time from the first arrival to the end */
  busyShare: number | null;
  /** that time */
  spanMs: number;
}

/** Quantiles within 0.14%. */
export interface LatencySummary {
  mean: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** @throws ELASTICLM_CALL_ABORTED */
export async function summarize(
  log: RequestLog,
  levels: readonly LevelQuality[],
  signal?: AbortSignal,
): Promise<{ summary: Summary; latencies: LatencyHistogram }> {
  const tally = new Tally(levels);
  const slices = new Slices(signal);
  for (const record of log) {
    if (slices.isOver) await slices.next();
    tally.add(record);
  }
  return { summary: tally.summaryOf(log), latencies: tally.latencies };
}

class Tally {
  readonly latencies = new LatencyHistogram();
  readonly #levels: readonly LevelQuality[];
  readonly #byOutcome: Record<RequestOutcome, number> = {
    waiting: 0,
    met: 0,
    late: 0,
    refused: 0,
    expired: 0,
  };
  /** by levelIdx */
  readonly #answered: number[];
  #quality = 0;
  #queueDelayMs = 0;

  constructor(levels: readonly LevelQuality[]) {
    this.#levels = levels;
    this.#answered = levels.map(() => 0);
  }

  add({ outcome, arrivalMs, startMs, endMs, levelIdx }: RequestRecord): void {
    this.#byOutcome[outcome] += 1;
    if (levelIdx < 0) return;
    this.latencies.add(endMs - arrivalMs);
    this.#answered[levelIdx]! += 1;
    this.#queueDelayMs += startMs - arrivalMs;
    if (outcome === 'met') this.#quality += this.#levels[levelIdx]!.quality;
  }

  summaryOf(log: RequestLog): Summary {
    const { met, late, refused, expired } = this.#byOutcome;
    const { latencies } = this;
    const offered = log.count;
    const admitted = offered - refused;
    const answered = latencies.count;
    const answeredByLevel = this.#levels.map(({ level }, idx) => ({ level, count: this.#answered[idx]! }));
    const levelSum = answeredByLevel.reduce((sum, { level, count }) => sum + level * count, 0);
    const spanMs = log.endMs - log.beginMs;
    return {
      offered,
      admitted,
      met,
      late,
      refused,
      expired,
      attainmentOfOffered: ratio(met, offered),
      attainmentOfAdmitted: ratio(met, admitted),
      effectiveQuality: ratio(this.#quality, offered),
      latencyMs: answered === 0 ? null : latencySummary(latencies),
      meanQueueDelayMs: ratio(this.#queueDelayMs, answered),
      meanLevel: ratio(levelSum, answered),
      answeredByLevel,
      batches: log.numBatches,
      meanBatchSize: ratio(answered, log.numBatches),
      busyShare: ratio(log.busyMs, spanMs),
      spanMs,
    };
  }
}

function latencySummary(latencies: LatencyHistogram): LatencySummary {
  return {
    mean: latencies.meanMs,
    p50: latencies.quantileMs(0.5),
    p95: latencies.quantileMs(0.95),
    p99: latencies.quantileMs(0.99),
    max: latencies.mostMs,
  };
}

function ratio(part: number, whole: number): number | null {
  return whole > 0 ? part / whole : null;
}
