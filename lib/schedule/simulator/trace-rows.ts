/**
 * Rows of trace files, as a stream. The readers of lib/eval are out of reach: a schedule stands below what evaluates, and lib/eval
 * brings models with it. What a trace needs is less: CSV is csv-parse's, and a line of JSON ends at a line feed.
 */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { describeValue, ElasticError } from '../../errors.js';

/** Where in a file something is wrong. */
export interface Place {
  path: string;
  line: number;
}

/** What a row holds in the two columns. */
export interface TraceRow {
  timestamp: unknown;
  tokens: unknown;
  place: Place;
}

export interface TraceColumns {
  timestamp: string;
  tokens: string;
}

export type TraceFormat = 'csv' | 'jsonl';

/** csv-parse takes about 0.3 us a character and reads all it is given in one go: 1 to 2 ms. */
const readBytes = 1 << 12;
/** A longer row is none of a trace; without a limit a wrong file would fill the memory. */
const maxRowCharacters = 1 << 20;

/** @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID */
export function readRows(path: string, format: TraceFormat, columns: TraceColumns): AsyncGenerator<TraceRow> {
  return format === 'csv' ? readCsvRows(path, columns) : readJsonRows(path, columns);
}

/** A header, then rows of as many fields. */
async function* readCsvRows(path: string, columns: TraceColumns): AsyncGenerator<TraceRow> {
  const parser = parse({ bom: true, info: true, skip_empty_lines: true, max_record_size: maxRowCharacters });
  // Failures reach the loop below through the parser, which the pipeline ends with them.
  pipeline(createReadStream(path, { highWaterMark: readBytes }), parser, () => undefined);
  let positions: { timestamp: number; tokens: number } | undefined;
  try {
    for await (const { record, info } of parser as AsyncIterable<CsvRow>) {
      const place = { path, line: info.lines };
      if (positions === undefined) {
        positions = {
          timestamp: columnAt(record, columns.timestamp, place),
          tokens: columnAt(record, columns.tokens, place),
        };
        continue;
      }
      yield { timestamp: record[positions.timestamp], tokens: record[positions.tokens], place };
    }
  } catch (error) {
    throw error instanceof CsvError ? csvError(error, path, parser.info.lines) : fileError(path, error);
  }
}

interface CsvRow {
  record: string[];
  info: { lines: number };
}

function columnAt(header: readonly string[], name: string, place: Place): number {
  const at = header.indexOf(name);
  if (at >= 0) return at;
  throw dataError(place, `a column ${JSON.stringify(name)}`, `columns ${header.join(', ').slice(0, 80)}`);
}

function csvError(error: CsvError, path: string, line: number): ElasticError {
  return dataError({ path, line }, 'a row of CSV', `${error.message} (${error.code})`, error);
}

/** Objects, one to a line; blank lines are left out. */
async function* readJsonRows(path: string, columns: TraceColumns): AsyncGenerator<TraceRow> {
  for await (const { text, place } of readLines(path)) {
    if (text.trim() === '') continue;
    const fields = parseObject(text, place);
    yield { timestamp: fields[columns.timestamp], tokens: fields[columns.tokens], place };
  }
}

function parseObject(text: string, place: Place): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw dataError(place, 'one JSON object', (cause as Error).message, cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw dataError(place, 'one JSON object', describeValue(value));
}

/** Only a line feed ends a line: node:readline also splits at U+2028, which may stand inside a JSON string. */
async function* readLines(path: string): AsyncGenerator<{ text: string; place: Place }> {
  let line = 1;
  let rest = '';
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: readBytes })) {
      const texts = (rest + (chunk as string)).split('\n');
      rest = texts.pop()!;
      for (const text of texts) yield { text, place: { path, line: line++ } };
      if (rest.length > maxRowCharacters) {
        throw dataError({ path, line }, `a line of at most ${maxRowCharacters} characters`, 'a longer one');
      }
    }
  } catch (error) {
    throw fileError(path, error);
  }
  yield { text: rest, place: { path, line } };
}

export function dataError(place: Place, expected: string, received: string, cause?: unknown): ElasticError {
  return ElasticError.of(
    'ELASTICLM_DATA_INVALID',
    { expected, subject: `line ${place.line} of ${place.path}`, received },
    { cause },
  );
}

/** What an error met while reading a file is for the caller; one that is coded already stays as it is. */
export function fileError(path: string, cause: unknown): ElasticError {
  if (cause instanceof ElasticError) return cause;
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  return ElasticError.of(
    missing ? 'ELASTICLM_FILE_NOT_FOUND' : 'ELASTICLM_FILE_UNREADABLE',
    { expected: 'a readable file', subject: path, received: (cause as Error).message },
    { cause },
  );
}
