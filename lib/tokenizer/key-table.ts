/**
 * Keys with a value each, packed into typed arrays: a vocabulary of 120,000 tokens as strings would hold up the event
 * loop for the collector's copying alone. A key added twice is there twice; the later one counts.
 */
export class KeyTable {
  length = 0;
  /** [begins[length]] UTF-16 units of all keys, one after the other */
  units: Uint16Array = new Uint16Array(1024);
  /** [length + 1] where each key's units begin */
  begins: Int32Array = new Int32Array(129);
  /** [length] */
  values: Int32Array = new Int32Array(128);

  /** @param value at least 0 */
  add(key: string, value: number): void {
    const begin = this.reserve(key.length);
    for (let index = 0; index < key.length; index++) this.units[begin + index] = key.charCodeAt(index);
    this.end(begin + key.length, value);
  }

  /** Adds the key of units [0, length). */
  addUnits(units: Uint16Array, length: number, value: number): void {
    const begin = this.reserve(length);
    for (let index = 0; index < length; index++) this.units[begin + index] = units[index]!;
    this.end(begin + length, value);
  }

  key(index: number): string {
    return stringOf(this.units, this.begins[index]!, this.begins[index + 1]!);
  }

  private reserve(numUnits: number): number {
    const begin = this.begins[this.length]!;
    if (begin + numUnits > this.units.length) {
      const grown = new Uint16Array(Math.max(begin + numUnits, 2 * this.units.length));
      grown.set(this.units);
      this.units = grown;
    }
    if (this.length === this.values.length) {
      this.values = grow(this.values, 2 * this.length);
      this.begins = grow(this.begins, 2 * this.length + 1);
    }
    return begin;
  }

  private end(end: number, value: number): void {
    this.values[this.length++] = value;
    this.begins[this.length] = end;
  }
}

/** Units [begin, end) as a string. */
export function stringOf(units: Uint16Array, begin: number, end: number): string {
  let text = '';
  for (let from = begin; from < end; from += 8192) {
    text += String.fromCharCode(...units.subarray(from, Math.min(from + 8192, end)));
  }
  return text;
}

/** A longer copy. */
export function grow(values: Int32Array, length: number): Int32Array {
  const grown = new Int32Array(length);
  grown.set(values);
  return grown;
}
