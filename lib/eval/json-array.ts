/** An array inside one large JSON object, element by element: such a file may be longer than a string can be. */
import { dataError, parseRecord, Pieces, readChunks, type JsonRecord, type Place } from './lines.js';

const byteOf = (char: string): number => char.charCodeAt(0);
const quote = byteOf('"');
const backslash = byteOf('\\');
const lineFeed = byteOf('\n');
const openings = [byteOf('{'), byteOf('[')];
const closings = [byteOf('}'), byteOf(']')];

/** Containers around an element of the array: the file's object, and the array. */
const arrayDepth = 2;

/**
 * The objects of the array that the file's one object has under `name`. What lies outside of them is looked at for where
 * containers begin and end, no more.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readJsonArray(path: string, name: string): AsyncGenerator<JsonRecord> {
  const scan = new Scan(path, name);
  for await (const chunk of readChunks(path)) yield* scan.next(chunk);
  scan.end();
}

class Scan {
  readonly #name: string;
  readonly #place: Place;
  /** where the element began that is read now */
  #elementPlace: Place;
  readonly #element = new Pieces('an object');
  /** the last string between the outermost braces, up to the length of a name: the key of what follows */
  #key = '';
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  #isInArray = false;
  #hasSeenArray = false;

  constructor(path: string, name: string) {
    this.#name = name;
    this.#place = { path, line: 1 };
    this.#elementPlace = this.#place;
  }

  *next(chunk: Buffer): Generator<JsonRecord> {
    let begin = 0; // of the element's bytes in this chunk
    for (let position = 0; position < chunk.length; ++position) {
      const byte = chunk[position]!;
      if (byte === lineFeed) this.#place.line += 1;
      if (this.#isInString) {
        this.#readStringByte(byte);
      } else if (byte === quote) {
        this.#isInString = true;
        if (this.#depth === 1) this.#key = '';
      } else if (openings.includes(byte)) {
        if (this.#open(byte)) begin = position;
      } else if (closings.includes(byte) && this.#close()) {
        this.#element.add(chunk.subarray(begin, position + 1), this.#elementPlace);
        yield parseRecord(this.#element.take(this.#elementPlace), this.#elementPlace);
      }
    }
    if (this.#isInElement) this.#element.add(chunk.subarray(begin), this.#elementPlace);
  }

  /** @throws ELASTICLM_DATA_INVALID unless the object has been closed and had the array */
  end(): void {
    if (this.#depth !== 0 || this.#isInString) {
      throw dataError(this.#place, 'a closing bracket', 'the end of the file');
    }
    if (!this.#hasSeenArray) {
      throw dataError(this.#place, `an object with the array ${JSON.stringify(this.#name)}`, 'none');
    }
  }

  get #isInElement(): boolean {
    return this.#isInArray && this.#depth > arrayDepth;
  }

  #readStringByte(byte: number): void {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === backslash) this.#isEscaped = true;
    else if (byte === quote) {
      this.#isInString = false;
      return;
    }
    // one character more than the name has tells a longer one from it
    if (this.#depth === 1 && this.#key.length <= this.#name.length) this.#key += String.fromCharCode(byte);
  }

  /** @returns whether an element of the array begins */
  #open(byte: number): boolean {
    this.#depth += 1;
    if (this.#depth === arrayDepth) {
      this.#isInArray = byte === byteOf('[') && this.#key === this.#name;
      this.#hasSeenArray ||= this.#isInArray;
    }
    if (!this.#isInArray || this.#depth !== arrayDepth + 1) return false;
    this.#elementPlace = { ...this.#place };
    return true;
  }

  /** @returns whether an element of the array ends */
  #close(): boolean {
    this.#depth -= 1;
    if (this.#depth < 0) throw dataError(this.#place, 'one JSON object', 'a bracket too many');
    return this.#isInArray && this.#depth === arrayDepth;
  }
}
