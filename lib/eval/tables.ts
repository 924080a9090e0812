/** Tab-separated tables, read as a stream, with errors that name file and line. */
import { dataError, readLines, type Place } from './lines.js';

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

  /** A relevance: a whole number. @throws ELASTICLM_DATA_INVALID */
  relevance(column: string): number {
    const relevance = this.number(column);
    if (Number.isInteger(relevance)) return relevance;
    throw dataError(this.place, 'a whole relevance', this.cell(column));
  }
}

/** Where the names of a table's columns come from. */
export type TableColumns =
  /** the file has no header line */
  | { columns: readonly string[] }
  /** the first line names them, these among others */
  | { needs: readonly string[] };

export type TableFormat = TableColumns & {
  /**
   * Cells may stand in double quotes, as Python's csv module writes them: with tabs, line ends and doubled quotes inside.
   * Without it quotes have no meaning, as in the official readers of such files.
   */
  quoted?: boolean;
  /** leave out rows of another number of cells instead of refusing them */
  skipsBrokenRows?: boolean;
};

/**
 * The rows of a table; empty lines are left out. A cell may be missing until it is asked for.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readTable(path: string, format: TableFormat): AsyncGenerator<Row> {
  const { quoted = false, skipsBrokenRows = false } = format;
  let columns = 'columns' in format ? format.columns : undefined;
  let positions = positionsOf(columns ?? []);
  for await (const { cells, line } of quoted ? readQuotedCells(path) : readCells(path)) {
    const place = { path, line };
    if (columns === undefined) {
      columns = cells;
      positions = positionsOf(cells);
      checkHeader(positions, format, place);
      continue;
    }
    if (skipsBrokenRows && cells.length !== columns.length) continue;
    if (cells.length > columns.length) {
      throw dataError(place, `at most ${columns.length} cells`, `${cells.length}`);
    }
    yield new Row(place, cells, positions);
  }
  if (columns === undefined) throw dataError({ path, line: 1 }, 'a header line', 'an empty file');
}

function positionsOf(columns: readonly string[]): ReadonlyMap<string, number> {
  return new Map(columns.map((name, idx) => [name, idx]));
}

function checkHeader(positions: ReadonlyMap<string, number>, format: TableFormat, place: Place): void {
  const missing = 'needs' in format ? format.needs.find((name) => !positions.has(name)) : undefined;
  if (missing === undefined) return;
  const names = [...positions.keys()].join(', ').slice(0, 80);
  throw dataError(place, `a header with the column ${JSON.stringify(missing)}`, names);
}

interface RawRow {
  cells: readonly string[];
  /** where it begins */
  line: number;
}

async function* readCells(path: string): AsyncGenerator<RawRow> {
  for await (const { text, number } of readLines(path)) {
    if (text !== '') yield { cells: text.split('\t'), line: number };
  }
}

async function* readQuotedCells(path: string): AsyncGenerator<RawRow> {
  let row: QuotedRow | undefined;
  for await (const { text, number } of readLines(path)) {
    if (row === undefined && text === '') continue;
    row ??= new QuotedRow({ path, line: number });
    if (!row.add(text)) continue;
    yield { cells: row.cells, line: row.place.line };
    row = undefined;
  }
  if (row !== undefined) throw dataError(row.place, 'a closing quote', 'the end of the file');
}

/** A longer cell is one whose closing quote is missing; Python's csv module has the same limit. */
const maxQuotedLength = 131_072;

/** A row of cells that may stand in quotes, and so go on over several lines. */
class QuotedRow {
  readonly place: Place;
  readonly cells: string[] = [];
  #cell = '';
  #isInQuotes = false;

  constructor(place: Place) {
    this.place = place;
  }

  /** Takes the row's next line. @returns whether the row ends with it */
  add(line: string): boolean {
    let position = 0;
    if (this.#isInQuotes) this.#cell += '\n';
    else position = this.#begin(line, 0);
    for (;;) {
      if (this.#isInQuotes) position = this.#readQuoted(line, position);
      if (position < 0) return false;
      const tab = line.indexOf('\t', position);
      this.cells.push(this.#cell + line.slice(position, tab < 0 ? undefined : tab));
      if (tab < 0) return true;
      position = this.#begin(line, tab + 1);
    }
  }

  /** @returns where the text of a new cell begins */
  #begin(line: string, position: number): number {
    this.#cell = '';
    this.#isInQuotes = line[position] === '"';
    return this.#isInQuotes ? position + 1 : position;
  }

  /** Up to the closing quote. @returns where what follows it begins; -1 where the cell goes on in the next line */
  #readQuoted(line: string, begin: number): number {
    let position = begin;
    for (;;) {
      const quote = line.indexOf('"', position);
      this.#cell += line.slice(position, quote < 0 ? undefined : quote);
      if (this.#cell.length > maxQuotedLength) {
        throw dataError(this.place, `a quoted cell of at most ${maxQuotedLength} characters`, 'a longer one');
      }
      if (quote < 0) return -1;
      if (line[quote + 1] !== '"') {
        this.#isInQuotes = false;
        return quote + 1;
      }
      this.#cell += '"';
      position = quote + 2;
    }
  }
}
