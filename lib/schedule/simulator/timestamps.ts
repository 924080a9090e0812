/** Times as traces write them. */

/** What numbers count: seconds or milliseconds. */
export type TimeUnit = 's' | 'ms';

/** A date or a number: those of one trace are all of one kind. */
export interface Timestamp {
  kind: 'date' | 'number';
  ms: number;
}

const isoDate = /^(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(\.\d+)?(?: ?(Z|[+-]\d{2}:\d{2}))?$/;
const unitMs = { s: 1000, ms: 1 } as const;

/**
 * A number, or ISO 8601 with a blank or a T and any number of decimals, which `Date` would cut to ms. Without a zone UTC is meant:
 * only distances count. @returns undefined for anything else
 */
export function parseTimestamp(value: unknown, unit: TimeUnit): Timestamp | undefined {
  if (typeof value === 'number') return numberStamp(value, unit);
  if (typeof value !== 'string') return undefined;
  const text = value.trim();
  const parts = isoDate.exec(text);
  if (parts === null) return text === '' ? undefined : numberStamp(Number(text), unit);
  const [, date, time, decimals = '0', zone = 'Z'] = parts;
  const wholeMs = Date.parse(`${date!}T${time!}${zone}`);
  if (Number.isNaN(wholeMs) || !isDayOfMonth(date!)) return undefined;
  return { kind: 'date', ms: wholeMs + Number(decimals) * 1000 };
}

function numberStamp(value: number, unit: TimeUnit): Timestamp | undefined {
  return Number.isFinite(value) ? { kind: 'number', ms: value * unitMs[unit] } : undefined;
}

/** `Date` takes February 30 for March 1 or 2. */
function isDayOfMonth(date: string): boolean {
  return new Date(`${date}T00:00:00Z`).getUTCDate() === Number(date.slice(8));
}
