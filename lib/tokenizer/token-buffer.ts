import { grow } from './key-table.js';

/** Token ids, and where asked for their places in the source, of one text. A reusable, growing buffer. */
export class TokenBuffer {
  ids: Int32Array = new Int32Array(512);
  length = 0;
  /** flattened [begin, end) of each token in UTF-16 units of the source; kept up only when `located` */
  offsets: Int32Array = new Int32Array(0);
  located = false;

  clear(located: boolean): void {
    this.length = 0;
    this.located = located;
    this.reserve(0);
  }

  /** Makes room for `more` tokens beyond `length`. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed > this.ids.length) this.ids = grow(this.ids, Math.max(needed, 2 * this.ids.length));
    if (this.located && this.offsets.length < 2 * this.ids.length) {
      this.offsets = grow(this.offsets, 2 * this.ids.length);
    }
  }

  push(id: number): void {
    if (this.length === this.ids.length) this.reserve(1);
    this.ids[this.length++] = id;
  }

  pushLocated(id: number, begin: number, end: number): void {
    this.push(id);
    this.offsets[2 * this.length - 2] = begin;
    this.offsets[2 * this.length - 1] = end;
  }
}
