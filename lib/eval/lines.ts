/** Data files read as a stream: pieces, lines and JSON lines, with errors that name file and line. */
import { open, type FileHandle } from 'node:fs/promises';
import { ElasticError } from '../errors.js';
import { decompress } from './compression.js';
import { Slices } from '../slices.js';

export interface Line {
  /** without its line end */
  text: string;
  /** from 1 */
  number: number;
}

/** Where in a data file something is wrong. */
export interface Place {
  path: string;
  line: number;
}

/** One object of a data file. */
export interface JsonRecord {
  fields: Record<string, unknown>;
  place: Place;
}

const lineFeed = 0x0a;
const readBytes = 1 << 16;
/** A longer line, or object of a JSON file, is no example of any task; without a limit a wrong file would fill the memory. */
const maxPieceBytes = 1 << 26;

/**
 * The lines of a UTF-8 file. Only a line feed ends a line (a carriage return before it is dropped): node:readline also
 * splits at U+2028, which may stand inside a JSON string. A byte order mark and a last empty line are left out.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (not UTF-8, or a line without end)
 */
export async function* readLines(path: string, onBytes?: OnBytes): AsyncGenerator<Line> {
  let number = 1;
  const line = new Pieces('a line');
  const slices = new Slices();
  for await (const chunk of readChunks(path, onBytes)) {
    let begin = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, begin)) {
      line.add(chunk.subarray(begin, end), { path, line: number });
      // thousands of short lines are one read
      if (slices.isOver) await slices.next();
      yield { text: lineText(line, path, number), number };
      number += 1;
      begin = end + 1;
    }
    line.add(chunk.subarray(begin), { path, line: number });
  }
  if (line.bytes > 0) yield { text: lineText(line, path, number), number };
}

function lineText(line: Pieces, path: string, number: number): string {
  const text = line.take({ path, line: number });
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}

/** Told how many bytes of a file were read, as they lie on disk. */
export type OnBytes = (bytes: number) => void;

/**
 * The bytes of a file, a piece at a time; of a `.gz` or `.xz` file those that were compressed.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID
 */
export function readChunks(path: string, onBytes?: OnBytes): AsyncGenerator<Buffer> {
  return decompress(path, readStored(path, onBytes));
}

async function* readStored(path: string, onBytes: OnBytes | undefined): AsyncGenerator<Buffer> {
  const file = await openFile(path);
  try {
    for (;;) {
      // A fresh buffer for each read: what is not finished yet points into it.
      const buffer = Buffer.allocUnsafe(readBytes);
      const bytesRead = await readInto(file, buffer, path);
      if (bytesRead === 0) return;
      onBytes?.(bytesRead);
      yield buffer.subarray(0, bytesRead);
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

async function readInto(file: FileHandle, buffer: Buffer, path: string): Promise<number> {
  try {
    return (await file.read(buffer, 0, buffer.length)).bytesRead;
  } catch (cause) {
    throw fileError(path, cause);
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

/** The pieces of one text that lies across reads. */
export class Pieces {
  /** bytes gathered so far */
  bytes = 0;
  readonly #what: string;
  #pieces: Buffer[] = [];

  /** @param what the text is, for the error of one without end */
  constructor(what: string) {
    this.#what = what;
  }

  /** @throws ELASTICLM_DATA_INVALID when the text gets longer than any can be */
  add(piece: Buffer, place: Place): void {
    if (piece.length === 0) return;
    this.bytes += piece.length;
    this.#pieces.push(piece);
    if (this.bytes > maxPieceBytes) {
      throw dataError(place, `${this.#what} of at most ${maxPieceBytes} bytes`, 'a longer one');
    }
  }

  /** The text, without the byte order mark of a first line; what follows is another one. @throws ELASTICLM_DATA_INVALID */
  take(place: Place): string {
    const bytes = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.bytes = 0;
    let text: string;
    try {
      text = decoder.decode(bytes);
    } catch {
      throw dataError(place, 'UTF-8', 'other bytes');
    }
    return place.line === 1 && text.startsWith('\uFEFF') ? text.slice(1) : text;
  }
}

export function dataError(place: Place, expected: string, received: string): ElasticError {
  return ElasticError.of('ELASTICLM_DATA_INVALID', {
    expected,
    subject: `line ${place.line} of ${place.path}`,
    received,
  });
}

/** The objects of a JSON-lines file; blank lines are left out. */
export async function* readJsonLines(path: string, onBytes?: OnBytes): AsyncGenerator<JsonRecord> {
  for await (const { text, number } of readLines(path, onBytes)) {
    if (text.trim() !== '') yield parseRecord(text, { path, line: number });
  }
}

/** @throws ELASTICLM_DATA_INVALID unless `text` is one JSON object */
export function parseRecord(text: string, place: Place): JsonRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw dataError(place, 'one JSON object', (cause as Error).message);
  }
  if (isObject(value)) return { fields: value, place };
  throw dataError(place, 'one JSON object', text.slice(0, 40));
}

/** A field of text. @throws ELASTICLM_DATA_INVALID */
export function stringField({ fields, place }: JsonRecord, name: string): string {
  const value = fields[name];
  if (typeof value === 'string') return value;
  throw dataError(place, `a string in ${JSON.stringify(name)}`, describeField(value));
}

/** A field with an object. @throws ELASTICLM_DATA_INVALID */
export function objectField({ fields, place }: JsonRecord, name: string): JsonRecord {
  const value = fields[name];
  if (isObject(value)) return { fields: value, place };
  throw dataError(place, `an object in ${JSON.stringify(name)}`, describeField(value));
}

/** A field with a list of texts, at least one. @throws ELASTICLM_DATA_INVALID */
export function stringsField({ fields, place }: JsonRecord, name: string): string[] {
  const value = fields[name];
  if (isStrings(value)) return value;
  throw dataError(place, `a list of strings in ${JSON.stringify(name)}`, describeField(value));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether `value` is a list of texts, at least one. */
export function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');
}

function describeField(value: unknown): string {
  return value === undefined ? 'none' : JSON.stringify(value).slice(0, 40);
}

/** Ids that must differ within a file. */
export class UniqueIds {
  readonly #seen = new Set<string>();

  /** @throws ELASTICLM_DATA_INVALID when there was `id` before */
  add(id: string, place: Place): string {
    if (this.#seen.has(id)) throw dataError(place, 'an id of its own', `${JSON.stringify(id)} again`);
    this.#seen.add(id);
    return id;
  }
}
