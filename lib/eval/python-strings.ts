/** What follows a backslash in a Python string that stands for one character; a backslash before a line end stands for nothing. */
const escapes: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '/': '/', // of JSON
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** One string with its quotes. */
const stringLiteral = /'((?:[^'\\]|\\[^])*)'|"((?:[^"\\]|\\[^])*)"/y;
const escape = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|([^]))/g;
const space = /\s*/y;

/**
 * The strings of a list as Python's repr() or JSON writes it: `['a', "b's"]`. Undefined for anything else.
 */
export function readPythonStrings(text: string): string[] | undefined {
  return new ListReader(text.trim()).read();
}

class ListReader {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): string[] | undefined {
    if (!this.#text.startsWith('[') || !this.#text.endsWith(']')) return undefined;
    const strings: string[] = [];
    this.#position = 1;
    const end = this.#text.length - 1;
    for (;;) {
      this.#match(space);
      if (this.#position === end) return strings; // also after a last comma, as in Python
      const literal = this.#match(stringLiteral);
      const value = literal === null ? undefined : unescapePython(literal[1] ?? literal[2] ?? '');
      if (value === undefined) return undefined;
      strings.push(value);
      this.#match(space);
      if (this.#position === end) return strings;
      if (this.#text[this.#position] !== ',') return undefined;
      this.#position += 1;
    }
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#position = pattern.lastIndex;
    return match;
  }
}

/** Undefined for a number that is no code point. */
function unescapePython(text: string): string | undefined {
  let value = '';
  let end = 0;
  for (const match of text.matchAll(escape)) {
    const [whole, x, u, U, octal, name] = match;
    const hex = x ?? u ?? U;
    const codePoint = hex === undefined ? parseInt(octal ?? '', 8) : parseInt(hex, 16);
    if (codePoint > 0x10ffff) return undefined;
    value += text.slice(end, match.index);
    value += name === undefined ? String.fromCodePoint(codePoint) : (escapes[name] ?? whole);
    end = match.index + whole.length;
  }
  return value + text.slice(end);
}
