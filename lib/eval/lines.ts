/** Lines, JSON lines and tab-separated tables of data files, read as a stream, with errors that name file and line. */
import { open, type FileHandle } from 'node:fs/promises';
import { ElasticError } from '../errors.js';

export interface Line {
  /** without its line end */
  text: string;
  /** from 1 */
  number: number;
}

const lineFeed = 0x0a;
const readBytes = 1 << 16;

/**
 * The lines of a UTF-8 file. Only a line feed ends a line (a carriage return before it is dropped): node:readline also
 * splits at U+2028, which may stand inside a JSON string. A byte order mark and a last empty line are left out.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (not UTF-8)
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  const file = await openFile(path);
  try {
    let number = 0;
    let pieces: Buffer[] = [];
    for await (const chunk of chunksOf(file, path)) {
      let begin = 0;
      for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, begin)) {
        number += 1;
        yield { text: decodeLine([...pieces, chunk.subarray(begin, end)], path, number), number };
        pieces = [];
        begin = end + 1;
      }
      if (begin < chunk.length) pieces.push(chunk.subarray(begin));
    }
    if (pieces.length > 0) {
      number += 1;
      yield { text: decodeLine(pieces, path, number), number };
    }
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    throw fileError(path, cause);
  }
}

async function* chunksOf(file: FileHandle, path: string): AsyncGenerator<Buffer> {
  for (;;) {
    // A fresh buffer for each read: the pieces of an unfinished line point into it.
    const buffer = Buffer.allocUnsafe(readBytes);
    let bytesRead: number;
    try {
      ({ bytesRead } = await file.read(buffer, 0, readBytes));
    } catch (cause) {
      throw fileError(path, cause);
    }
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

function fileError(path: string, cause: unknown): ElasticError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  return ElasticError.of(
    missing ? 'ELASTICLM_FILE_NOT_FOUND' : 'ELASTICLM_FILE_UNREADABLE',
    { expected: 'a readable data file', subject: path, received: (cause as Error).message },
    { cause },
  );
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeLine(pieces: readonly Buffer[], path: string, number: number): string {
  const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw dataError({ path, line: number }, 'UTF-8', 'other bytes');
  }
  if (number === 1 && text.startsWith('\uFEFF')) text = text.slice(1);
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}

/** Where in a data file something is wrong. */
export interface Place {
  path: string;
  line: number;
}

export function dataError(place: Place, expected: string, received: string): ElasticError {
  return ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected,
    subject: `line ${place.line} of ${place.path}`,
    received,
  });
}

/** The objects of a JSON-lines file; blank lines are left out. */
export async function* readJsonLines(
  path: string,
): AsyncGenerator<{ fields: Record<string, unknown>; place: Place }> {
  for await (const { text, number } of readLines(path)) {
    if (text.trim() === '') continue;
    const place = { path, line: number };
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw dataError(place, 'one JSON object', (cause as Error).message);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw dataError(place, 'one JSON object', text.slice(0, 40));
    }
    yield { fields: value as Record<string, unknown>, place };
  }
}

/** One row of a tab-separated table. */
export class Row {
  readonly place: Place;
  readonly #cells: readonly string[];
  readonly #columns: ReadonlyMap<string, number>;

  constructor(place: Place, cells: readonly string[], columns: ReadonlyMap<string, number>) {
    this.place = place;
    this.#cells = cells;
    this.#columns = columns;
  }

  /** @throws ELASTICLM_DATA_INVALID when the row has no such cell */
  cell(column: string): string {
    const idx = this.#columns.get(column);
    const cell = idx === undefined ? undefined : this.#cells[idx];
    if (cell !== undefined) return cell;
    throw dataError(this.place, `a cell in column ${JSON.stringify(column)}`, `${this.#cells.length} cells`);
  }

  /** A finite number. @throws ELASTICLM_DATA_INVALID */
  number(column: string): number {
    const cell = this.cell(column);
    const value = Number(cell);
    if (cell.trim() !== '' && Number.isFinite(value)) return value;
    throw dataError(
      this.place,
      `a number in column ${JSON.stringify(column)}`,
      JSON.stringify(cell.slice(0, 40)),
    );
  }
}

export interface TableFormat {
  /** names of the columns of a file that has no header line; without it the first line names them */
  columns?: readonly string[];
  /** columns that the reader needs: a header without one of them is an error that says so */
  needs: readonly string[];
}

/** The rows of a tab-separated table. Quotes have no meaning, as in the official readers of these files. */
export async function* readTable(path: string, format: TableFormat): AsyncGenerator<Row> {
  let columns = format.columns === undefined ? undefined : positions(format.columns);
  for await (const { text, number } of readLines(path)) {
    if (text === '') continue;
    const place = { path, line: number };
    const cells = text.split('\t');
    if (columns !== undefined) {
      yield new Row(place, cells, columns);
      continue;
    }
    const header = positions(cells);
    const missing = format.needs.find((name) => !header.has(name));
    if (missing !== undefined) {
      throw dataError(
        place,
        `a header with the column ${JSON.stringify(missing)}`,
        cells.join(', ').slice(0, 80),
      );
    }
    columns = header;
  }
  if (columns === undefined) throw dataError({ path, line: 1 }, 'a header line', 'an empty file');
}

function positions(columns: readonly string[]): ReadonlyMap<string, number> {
  return new Map(columns.map((name, idx) => [name, idx]));
}
