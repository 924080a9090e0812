/** What became of every request: of a simulation, or of a server that was measured. */
import type { Assignment } from '../types.js';

/**
 * met: answered by its deadline; late: answered after it; refused: not taken; expired: its deadline passed while it waited; waiting:
 * nothing of these yet.
 */
export const outcomes = ['waiting', 'met', 'late', 'refused', 'expired'] as const;
export type RequestOutcome = (typeof outcomes)[number];

export interface RequestRecord {
  arrivalMs: number;
  /** Infinity: none */
  deadlineMs: number;
  outcome: RequestOutcome;
  /** when its batch began; NaN where none did */
  startMs: number;
  /** when it was answered, refused, or found expired */
  endMs: number;
  /** that it was answered at; -1 where it was not */
  levelIdx: number;
}

/** A batch that has run. */
export interface BatchRun {
  startMs: number;
  endMs: number;
  members: readonly { row: number; levelIdx: Assignment['levelIdx'] }[];
}

/** Requests of a page: a million of them lie in pages, since one array that grows would be copied again and again. */
const pageRows = 1 << 14;

class Page {
  readonly arrivalMs = new Float64Array(pageRows);
  readonly deadlineMs = new Float64Array(pageRows);
  readonly startMs = new Float64Array(pageRows).fill(NaN);
  readonly endMs = new Float64Array(pageRows).fill(NaN);
  readonly levelIdx = new Int8Array(pageRows).fill(-1);
  readonly outcomeIdx = new Uint8Array(pageRows);
}

/** Requests in order of arrival; a request's row is its position. */
export class RequestLog {
  readonly #pages: Page[] = [];
  #count = 0;
  #numBatches = 0;
  #busyMs = 0;
  #endMs = 0;

  get count(): number {
    return this.#count;
  }

  get numBatches(): number {
    return this.#numBatches;
  }

  /** Time in which a batch ran. */
  get busyMs(): number {
    return this.#busyMs;
  }

  /** Arrival of the first request; 0 where there is none. */
  get beginMs(): number {
    return this.#count === 0 ? 0 : this.#pages[0]!.arrivalMs[0]!;
  }

  /** When the last thing happened. */
  get endMs(): number {
    return this.#endMs;
  }

  /** @param arrivalMs no earlier than the request before @returns its row */
  add(arrivalMs: number, deadlineMs: number): number {
    const row = this.#count;
    if (row % pageRows === 0) this.#pages.push(new Page());
    this.#count += 1;
    const { page, at } = this.#find(row);
    page.arrivalMs[at] = arrivalMs;
    page.deadlineMs[at] = deadlineMs;
    this.#endMs = Math.max(this.#endMs, arrivalMs);
    return row;
  }

  refuse(row: number, nowMs: number): void {
    this.#end(row, nowMs, 'refused');
  }

  expire(row: number, nowMs: number): void {
    this.#end(row, nowMs, 'expired');
  }

  serve({ startMs, endMs, members }: BatchRun): void {
    this.#numBatches += 1;
    this.#busyMs += endMs - startMs;
    for (const { row, levelIdx } of members) {
      const { page, at } = this.#find(row);
      page.startMs[at] = startMs;
      page.levelIdx[at] = levelIdx;
      this.#end(row, endMs, endMs <= page.deadlineMs[at]! ? 'met' : 'late');
    }
  }

  at(row: number): RequestRecord {
    const { page, at } = this.#find(row);
    return {
      arrivalMs: page.arrivalMs[at]!,
      deadlineMs: page.deadlineMs[at]!,
      outcome: outcomes[page.outcomeIdx[at]!]!,
      startMs: page.startMs[at]!,
      endMs: page.endMs[at]!,
      levelIdx: page.levelIdx[at]!,
    };
  }

  *[Symbol.iterator](): Generator<RequestRecord> {
    for (let row = 0; row < this.#count; ++row) yield this.at(row);
  }

  #end(row: number, nowMs: number, outcome: RequestOutcome): void {
    const { page, at } = this.#find(row);
    page.endMs[at] = nowMs;
    page.outcomeIdx[at] = outcomes.indexOf(outcome);
    this.#endMs = Math.max(this.#endMs, nowMs);
  }

  #find(row: number): { page: Page; at: number } {
    return { page: this.#pages[Math.floor(row / pageRows)]!, at: row % pageRows };
  }
}
