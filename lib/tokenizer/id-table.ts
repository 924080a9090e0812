import { KeyTable } from './key-table.js';

/** Ids are stored as int32. */
export const MAX_ID = 2 ** 31 - 1;

/** A token that may not be in a table of ids, and why. */
export interface Misfit {
  token: string;
  value: unknown;
  expected: string;
}

/** What a JSON object of ids by token is read into. Takes any content; the first that is out of place is remembered. */
export class IdTable {
  readonly keys = new KeyTable();
  misfit: Misfit | undefined;

  /** Adds a token whose id follows by `setLastId`. */
  addToken(units: Uint16Array, length: number): void {
    this.keys.addUnits(units, length, 0);
  }

  setLastId(id: unknown): void {
    const last = this.keys.length - 1;
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= MAX_ID) {
      this.keys.values[last] = id;
    } else {
      this.misfit ??= {
        token: this.keys.key(last),
        value: id,
        expected: `an integer from 0 to ${MAX_ID}`,
      };
    }
    const { units, begins } = this.keys;
    if (!isWellFormed(units, begins[last]!, begins[last + 1]!)) {
      const token = this.keys.key(last);
      this.misfit ??= { token, value: token, expected: 'a token without lone surrogates' };
    }
  }

  add(token: string, id: unknown): void {
    this.keys.add(token, 0);
    this.setLastId(id);
  }
}

function isWellFormed(units: Uint16Array, begin: number, end: number): boolean {
  for (let index = begin; index < end; index++) {
    const unit = units[index]!;
    if ((unit & 0xf800) !== 0xd800) continue;
    if (unit > 0xdbff || index + 1 === end || (units[index + 1]! & 0xfc00) !== 0xdc00) return false;
    index++;
  }
  return true;
}
