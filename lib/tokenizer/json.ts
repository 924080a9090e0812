import { isUtf8 } from 'node:buffer';
import { IdTable } from './id-table.js';
import { stringOf } from './key-table.js';
import type { Steps } from './steps.js';

/** JSON values between two pauses. */
const VALUES_PER_STEP = 128;
/** Bytes checked for UTF-8 between two pauses: about 0.1 ms. */
const CHECKED_BYTES = 1 << 18;

const byteOf = (char: string): number => char.charCodeAt(0);
const QUOTE = byteOf('"');
const BACKSLASH = byteOf('\\');
const COMMA = byteOf(',');
const COLON = byteOf(':');
const ZERO = byteOf('0');
const NINE = byteOf('9');

const escapes = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }).map(
    ([name, char]) => [byteOf(name), byteOf(char)],
  ),
);
const number = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;
/** Integers of up to 15 digits need no rounding. */
const MAX_EXACT_DIGITS = 15;

/** An array or object that is not closed yet. */
interface Open {
  container: unknown[] | Record<string, unknown> | IdTable;
  /** of the member that is read now */
  key: string;
}

/** Whether bytes are UTF-8, cut where a character begins. */
export function* checkUtf8(bytes: Uint8Array): Steps<boolean> {
  for (let begin = 0; begin < bytes.length;) {
    let end = Math.min(begin + CHECKED_BYTES, bytes.length);
    for (let back = 0; back < 3 && end < bytes.length && (bytes[end]! & 0xc0) === 0x80; back++) end--;
    if (!isUtf8(bytes.subarray(begin, end))) return false;
    begin = end;
    yield;
  }
  return true;
}

/**
 * JSON.parse that can pause, with its grammar and results: of equal names the last counts, `__proto__` is a name like any
 * other, any depth is allowed. The object at `idTablePath`, if there is one, becomes an IdTable.
 *
 * @param bytes UTF-8
 * @throws SyntaxError
 */
export function parseJson(bytes: Buffer, idTablePath?: readonly string[]): Steps<unknown> {
  return new Parser(bytes, idTablePath).parse();
}

class Parser {
  private position = 0;
  private readonly open: Open[] = [];
  /** the string read last, as UTF-16 units */
  private units = new Uint16Array(256);
  private numUnits = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly idTablePath: readonly string[] | undefined,
  ) {}

  *parse(): Steps<unknown> {
    for (let numValues = 1; ; numValues++) {
      if (numValues % VALUES_PER_STEP === 0) yield;
      let value = this.beginValue();
      if (value === undefined) continue;
      // a value is complete, and with it each container that closes after it
      for (;;) {
        const parent = this.open.at(-1);
        this.skipWhitespace();
        if (parent === undefined) {
          if (this.position < this.bytes.length) throw this.unexpected();
          return value;
        }
        put(parent, value);
        if (this.bytes[this.position] === COMMA) {
          this.position++;
          if (!Array.isArray(parent.container)) this.readKey(parent);
          break;
        }
        this.expect(byteOf(Array.isArray(parent.container) ? ']' : '}'));
        value = parent.container;
        this.open.pop();
      }
    }
  }

  /** A scalar or an empty container; undefined where a container has begun that holds something. */
  private beginValue(): unknown {
    this.skipWhitespace();
    const byte = this.bytes[this.position];
    switch (byte) {
      case QUOTE:
        this.readString();
        return stringOf(this.units, 0, this.numUnits);
      case byteOf('{'): {
        const container = this.isAtIdTable() ? new IdTable() : {};
        if (this.isEmpty('}')) return container;
        const opened = { container, key: '' };
        this.open.push(opened);
        this.readKey(opened);
        return undefined;
      }
      case byteOf('['):
        if (this.isEmpty(']')) return [];
        this.open.push({ container: [], key: '' });
        return undefined;
      case byteOf('t'):
        return this.readLiteral('true', true);
      case byteOf('f'):
        return this.readLiteral('false', false);
      case byteOf('n'):
        return this.readLiteral('null', null);
      default:
        return this.readNumber();
    }
  }

  private isAtIdTable(): boolean {
    const { idTablePath, open } = this;
    return open.length === idTablePath?.length && idTablePath.every((key, index) => open[index]!.key === key);
  }

  /** Steps into a container, and over its end when it holds nothing. */
  private isEmpty(end: string): boolean {
    this.position++;
    this.skipWhitespace();
    if (this.bytes[this.position] !== byteOf(end)) return false;
    this.position++;
    return true;
  }

  private readKey(parent: Open): void {
    this.skipWhitespace();
    if (this.bytes[this.position] !== QUOTE) throw this.unexpected();
    this.readString();
    if (parent.container instanceof IdTable) parent.container.addToken(this.units, this.numUnits);
    else parent.key = stringOf(this.units, 0, this.numUnits);
    this.skipWhitespace();
    this.expect(COLON);
  }

  private readString(): void {
    const { bytes } = this;
    let { units } = this;
    let length = 0;
    let position = this.position + 1;
    for (;;) {
      if (length + 2 > units.length) {
        const grown = new Uint16Array(2 * units.length);
        grown.set(units);
        this.units = units = grown;
      }
      const byte = position < bytes.length ? bytes[position]! : 0;
      if (byte === QUOTE) break;
      if (byte < 0x20) {
        this.position = position;
        throw this.unexpected();
      }
      if (byte === BACKSLASH) {
        this.position = position + 1;
        units[length++] = this.readEscape();
        ({ position } = this);
      } else if (byte < 0x80) {
        units[length++] = byte;
        position++;
      } else if (byte < 0xe0) {
        units[length++] = ((byte & 0x1f) << 6) | (bytes[position + 1]! & 0x3f);
        position += 2;
      } else {
        const upper =
          ((byte & 0x0f) << 12) | ((bytes[position + 1]! & 0x3f) << 6) | (bytes[position + 2]! & 0x3f);
        if (byte < 0xf0) {
          units[length++] = upper;
          position += 3;
        } else {
          const codePoint = ((upper & 0x7fff) << 6) | (bytes[position + 3]! & 0x3f);
          units[length++] = 0xd7c0 + (codePoint >> 10);
          units[length++] = 0xdc00 + (codePoint & 0x3ff);
          position += 4;
        }
      }
    }
    this.position = position + 1;
    this.numUnits = length;
  }

  private readEscape(): number {
    const name = this.bytes[this.position] ?? 0;
    if (name !== byteOf('u')) {
      const unit = escapes.get(name);
      if (unit === undefined) throw this.unexpected();
      this.position++;
      return unit;
    }
    const digits = this.bytes.toString('latin1', this.position + 1, this.position + 5);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.unexpected();
    this.position += 5;
    return Number.parseInt(digits, 16);
  }

  private readNumber(): number {
    const { bytes } = this;
    const begin = this.position;
    let value = 0;
    while (bytes[this.position]! >= ZERO && bytes[this.position]! <= NINE) {
      value = 10 * value + bytes[this.position++]! - ZERO;
    }
    const numDigits = this.position - begin;
    const mayBeExact = numDigits === 1 || (numDigits <= MAX_EXACT_DIGITS && bytes[begin]! > ZERO);
    if (mayBeExact && numDigits > 0 && !isNumberByte(bytes[this.position])) return value;
    while (isNumberByte(bytes[this.position])) this.position++;
    const text = bytes.toString('latin1', begin, this.position);
    if (!number.test(text)) {
      this.position = begin;
      throw this.unexpected();
    }
    return Number(text);
  }

  private readLiteral<T>(literal: string, value: T): T {
    if (this.bytes.toString('latin1', this.position, this.position + literal.length) !== literal)
      throw this.unexpected();
    this.position += literal.length;
    return value;
  }

  private skipWhitespace(): void {
    for (;;) {
      const byte = this.bytes[this.position];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.position++;
    }
  }

  private expect(byte: number): void {
    if (this.bytes[this.position] !== byte) throw this.unexpected();
    this.position++;
  }

  private unexpected(): SyntaxError {
    const { bytes, position } = this;
    if (position >= bytes.length) return new SyntaxError('an end too soon');
    return new SyntaxError(`something else at byte ${position}`);
  }
}

function isNumberByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (
    (byte >= ZERO && byte <= NINE) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e ||
    (byte | 0x20) === 0x65
  );
}

function put({ container, key }: Open, value: unknown): void {
  if (Array.isArray(container)) container.push(value);
  else if (container instanceof IdTable) container.setLastId(value);
  else if (key !== '__proto__') container[key] = value;
  else Object.defineProperty(container, key, { value, writable: true, enumerable: true, configurable: true });
}
