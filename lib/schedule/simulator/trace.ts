/** Recorded arrivals, played at any speed. */
import { describeValue, ElasticError } from '../../errors.js';
import { Slices } from '../../slices.js';
import type { CostModel } from '../cost-model.js';
import { aloneMs, type Arrival } from './arrivals.js';
import { mostTokens, sequenceWork } from './request-sizes.js';
import { parseTimestamp, type TimeUnit, type Timestamp } from './timestamps.js';
import { dataError, readRows, type TraceFormat, type TraceRow } from './trace-rows.js';

export interface TraceOptions {
  /** default: what the file's name ends with, .csv, .jsonl or .ndjson */
  format?: TraceFormat | undefined;
  /** names of the columns, or of the fields; default `timestamp` and `tokens` */
  timestampColumn?: string | undefined;
  tokensColumn?: string | undefined;
  /** what timestamps count that are plain numbers; default 's' */
  timeUnit?: TimeUnit | undefined;
  signal?: AbortSignal | undefined;
}

/** Requests by their time after the first. */
export class Trace {
  readonly #atMs: number[] = [];
  readonly #tokens: number[] = [];
  readonly #countByTokens = new Map<number, number>();
  #beginMs = 0;

  get count(): number {
    return this.#atMs.length;
  }

  /** From the first to the last, as recorded. */
  get spanMs(): number {
    return this.#atMs.at(-1) ?? 0;
  }

  /** False: it came before the one that was added last, and is not added. */
  add(timestampMs: number, tokens: number): boolean {
    if (this.count === 0) this.#beginMs = timestampMs;
    const atMs = timestampMs - this.#beginMs;
    if (atMs < this.spanMs) return false;
    this.#atMs.push(atMs);
    this.#tokens.push(tokens);
    this.#countByTokens.set(tokens, (this.#countByTokens.get(tokens) ?? 0) + 1);
    return true;
  }

  /** Time of all requests when each runs alone at the largest level. */
  workMs(cost: CostModel): number {
    let sum = 0;
    for (const [tokens, count] of this.#countByTokens) sum += count * aloneMs(cost, sequenceWork(tokens));
    return sum;
  }

  /** How much faster than recorded it must be played to be this load: workMs() over the time that it then takes. */
  speedAtLoad(load: number, cost: CostModel): number {
    if (load > 0 && load < Infinity) return (load * this.spanMs) / this.workMs(cost);
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'a number above 0',
      subject: 'load',
      received: describeValue(load),
    });
  }

  /** The requests `speed` times as fast as recorded, those before `durationMs` of the faster clock. */
  arrivals(speed: number, durationMs = Infinity): Iterable<Arrival> {
    return { [Symbol.iterator]: () => this.#play(speed, durationMs) };
  }

  *#play(speed: number, durationMs: number): Generator<Arrival> {
    for (const [idx, atMs] of this.#atMs.entries()) {
      const arrivalMs = atMs / speed;
      if (arrivalMs >= durationMs) return;
      yield { arrivalMs, work: sequenceWork(this.#tokens[idx]!) };
    }
  }
}

/**
 * Reads a trace: one request a row, in order of time, with its size in tokens, of which 512 count at most.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line),
 * ELASTICLM_ARGUMENT_INVALID (no format), ELASTICLM_CALL_ABORTED
 */
export async function readTrace(path: string, options: TraceOptions = {}): Promise<Trace> {
  const { format = formatOf(path), timestampColumn = 'timestamp', tokensColumn = 'tokens' } = options;
  const { timeUnit = 's', signal } = options;
  const trace = new Trace();
  const slices = new Slices(signal);
  let kind: Timestamp['kind'] | undefined;
  for await (const row of readRows(path, format, { timestamp: timestampColumn, tokens: tokensColumn })) {
    if (slices.isOver) await slices.next();
    const stamp = parseTimestamp(row.timestamp, timeUnit);
    kind ??= stamp?.kind;
    if (stamp === undefined || stamp.kind !== kind) throw stampError(row, timestampColumn, kind);
    if (trace.add(stamp.ms, tokensOf(row, tokensColumn))) continue;
    // Sorting a long trace would hold the event loop, and a trace out of order may be a mistaken column.
    throw dataError(
      row.place,
      'a timestamp no earlier than the one before (sort the file by its timestamps)',
      describeValue(row.timestamp),
    );
  }
  if (trace.spanMs > 0) return trace;
  throw ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected: 'requests of at least two different times',
    subject: path,
    received: `${trace.count} requests in ${trace.spanMs} ms`,
  });
}

function formatOf(path: string): TraceFormat {
  if (/\.csv$/i.test(path)) return 'csv';
  if (/\.(jsonl|ndjson)$/i.test(path)) return 'jsonl';
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: 'a name that ends with .csv, .jsonl or .ndjson, or a format',
    subject: "the trace's file",
    received: describeValue(path),
  });
}

function stampError(row: TraceRow, column: string, kind: Timestamp['kind'] | undefined): ElasticError {
  const what = { date: 'an ISO date', number: 'a number' };
  const expected = kind === undefined ? 'an ISO date or a number' : what[kind];
  return dataError(row.place, `${expected} in ${JSON.stringify(column)}`, describeField(row.timestamp));
}

function tokensOf({ tokens, place }: TraceRow, column: string): number {
  const value = typeof tokens === 'string' && tokens.trim() !== '' ? Number(tokens) : tokens;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return Math.min(mostTokens, value);
  throw dataError(
    place,
    `a whole number of tokens of at least 1 in ${JSON.stringify(column)}`,
    describeField(tokens),
  );
}

function describeField(value: unknown): string {
  return value === undefined ? 'none' : describeValue(value);
}
