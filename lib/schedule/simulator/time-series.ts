/** A log of requests over time. */
import { ElasticError } from '../../errors.js';
import { Slices } from '../../slices.js';
import type { LevelQuality } from '../types.js';
import { LatencyHistogram } from './latency-histogram.js';
import type { RequestLog, RequestRecord } from './request-log.js';

/** By windows of equal length, the first from the first arrival on. Levels and latencies are those of the requests that came in the window. */
export interface TimeSeries {
  windowMs: number;
  /** [windows] when it begins, counted from the first arrival */
  beginMs: number[];
  /** [windows] */
  arrivalsPerSecond: number[];
  /** [windows] requests that waited, mean over the window */
  waiting: number[];
  /** [windows] of the requests that were answered; null without any */
  meanLevel: (number | null)[];
  /** [windows] of the requests that were answered, within 0.14%; null without any */
  p99Ms: (number | null)[];
}

/** More would be a mistaken unit, and fill the memory. */
const mostWindows = 10_000;

/** @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_CALL_ABORTED */
export async function timeSeries(
  log: RequestLog,
  levels: readonly LevelQuality[],
  options: { windowMs: number; signal?: AbortSignal | undefined },
): Promise<TimeSeries> {
  const windows = new Windows(log, levels, options.windowMs);
  const slices = new Slices(options.signal);
  for (const record of log) {
    if (slices.isOver) await slices.next();
    windows.add(record);
  }
  return windows.end();
}

class Windows {
  readonly #levels: readonly LevelQuality[];
  readonly #beginMs: number;
  readonly #windowMs: number;
  readonly #waitedMs: number[];
  readonly #series: TimeSeries;
  /** of the window that is being filled */
  readonly #latencies = new LatencyHistogram();
  #arrivals = 0;
  #levelSum = 0;

  constructor(log: RequestLog, levels: readonly LevelQuality[], windowMs: number) {
    const count = Math.floor((log.endMs - log.beginMs) / windowMs) + 1;
    if (!(windowMs > 0 && count <= mostWindows)) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: `ms above 0, at least 1 / ${mostWindows} of the log's span`,
        subject: 'windowMs',
        received: String(windowMs),
      });
    }
    this.#levels = levels;
    this.#beginMs = log.beginMs;
    this.#windowMs = windowMs;
    this.#waitedMs = Array<number>(log.count === 0 ? 0 : count).fill(0);
    const series = { arrivalsPerSecond: [], waiting: [], meanLevel: [], p99Ms: [] };
    this.#series = { windowMs, beginMs: [], ...series };
  }

  /** Requests come in order of arrival, so a window is complete when one of a later window comes. */
  add({ arrivalMs, startMs, endMs, outcome, levelIdx }: RequestRecord): void {
    const idx = Math.floor((arrivalMs - this.#beginMs) / this.#windowMs);
    while (this.#series.beginMs.length < idx) this.#endWindow();
    this.#arrivals += 1;
    if (outcome !== 'refused') this.#addWaiting(arrivalMs, outcome === 'expired' ? endMs : startMs);
    if (levelIdx < 0) return;
    this.#latencies.add(endMs - arrivalMs);
    this.#levelSum += this.#levels[levelIdx]!.level;
  }

  end(): TimeSeries {
    while (this.#series.beginMs.length < this.#waitedMs.length) this.#endWindow();
    return { ...this.#series, waiting: this.#waitedMs.map((ms) => ms / this.#windowMs) };
  }

  #addWaiting(arrivalMs: number, leaveMs: number): void {
    const windowMs = this.#windowMs;
    const from = arrivalMs - this.#beginMs;
    const until = leaveMs - this.#beginMs;
    for (
      let idx = Math.floor(from / windowMs);
      idx * windowMs < until && idx < this.#waitedMs.length;
      ++idx
    ) {
      const overlap = Math.min(until, (idx + 1) * windowMs) - Math.max(from, idx * windowMs);
      this.#waitedMs[idx]! += Math.max(0, overlap);
    }
  }

  #endWindow(): void {
    const { beginMs, arrivalsPerSecond, meanLevel, p99Ms } = this.#series;
    const answered = this.#latencies.count;
    beginMs.push(beginMs.length * this.#windowMs);
    arrivalsPerSecond.push((this.#arrivals / this.#windowMs) * 1000);
    meanLevel.push(answered === 0 ? null : this.#levelSum / answered);
    p99Ms.push(answered === 0 ? null : this.#latencies.quantileMs(0.99));
    if (answered > 0) this.#latencies.clear();
    this.#arrivals = 0;
    this.#levelSum = 0;
  }
}
