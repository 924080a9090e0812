/** Tokenised texts in a few large arrays: millions of objects would take several times the memory, and the collector's time. */
import { packBatch } from '../batch/index.js';
import { ElasticError } from '../errors.js';
import type { Encoding, PackedBatch } from '../types.js';

/** Ids of one block: a growing array would be copied whenever it grows, and twice there meanwhile. */
const blockIds = 1 << 20;

/** Whole numbers of 32 bits in a row, as many as there come. */
export class IntList {
  #values = new Int32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#values.byteLength;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Int32Array(2 * this.#length);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length] = value;
    this.#length += 1;
  }

  at(idx: number): number {
    return this.#values[idx]!;
  }

  /** A view of the numbers [begin, end), valid until the next push. */
  slice(begin = 0, end = this.#length): Int32Array {
    return this.#values.subarray(begin, Math.min(end, this.#length));
  }
}

export class TokenStore {
  readonly #isNarrow: boolean;
  readonly #blocks: (Uint16Array | Int32Array)[] = [];
  /** where each text begins in its block, its block, its tokens, and those of them that are its first text's */
  readonly #begins = new IntList();
  readonly #blockOf = new IntList();
  readonly #lengths = new IntList();
  readonly #firstLengths = new IntList();
  #used = 0;
  #totalTokens = 0;

  /** @param vocabSize ids below 2^16 take two bytes each, others four */
  constructor(vocabSize: number) {
    this.#isNarrow = vocabSize <= 1 << 16;
  }

  /** number of texts */
  get count(): number {
    return this.#lengths.length;
  }

  get totalTokens(): number {
    return this.#totalTokens;
  }

  get bytes(): number {
    const lists = [this.#begins, this.#blockOf, this.#lengths, this.#firstLengths];
    return [...this.#blocks.map((block) => block.byteLength), ...lists.map(({ bytes }) => bytes)].reduce(
      (sum, bytes) => sum + bytes,
      0,
    );
  }

  /** Everything that decides what the texts are, for a fingerprint. */
  *arrays(): Generator<Int32Array | Uint16Array> {
    for (const [idx, block] of this.#blocks.entries()) {
      yield idx === this.#blocks.length - 1 ? block.subarray(0, this.#used) : block;
    }
    yield this.#lengths.slice();
    yield this.#firstLengths.slice();
  }

  /** The position of the text that was added. @throws ELASTICLM_TOKENIZER_UNSUPPORTED */
  add({ inputIds, tokenTypeIds }: Encoding): number {
    const length = inputIds.length;
    let block = this.#blocks.at(-1);
    if (block === undefined || this.#used + length > block.length) {
      const size = Math.max(blockIds, length);
      block = this.#isNarrow ? new Uint16Array(size) : new Int32Array(size);
      this.#blocks.push(block);
      this.#used = 0;
    }
    block.set(inputIds, this.#used);
    this.#begins.push(this.#used);
    this.#blockOf.push(this.#blocks.length - 1);
    this.#lengths.push(length);
    this.#firstLengths.push(firstLength(tokenTypeIds));
    this.#used += length;
    this.#totalTokens += length;
    return this.count - 1;
  }

  length(idx: number): number {
    return this.#lengths.at(idx);
  }

  encoding(idx: number): Encoding {
    const length = this.length(idx);
    const begin = this.#begins.at(idx);
    const block = this.#blocks[this.#blockOf.at(idx)]!;
    const inputIds = Int32Array.from(block.subarray(begin, begin + length));
    const tokenTypeIds = new Int32Array(length).fill(1, this.#firstLengths.at(idx));
    return { inputIds, tokenTypeIds };
  }

  /** Texts end to end, in the order of `idxs`. */
  pack(idxs: readonly number[]): PackedBatch {
    return packBatch(idxs.map((idx) => this.encoding(idx)));
  }
}

/** Tokens before the second text, of token type 1. */
function firstLength(tokenTypeIds: Int32Array): number {
  const first = tokenTypeIds.indexOf(1);
  const length = first < 0 ? tokenTypeIds.length : first;
  for (let idx = 0; idx < tokenTypeIds.length; ++idx) {
    if (tokenTypeIds[idx] === (idx < length ? 0 : 1)) continue;
    throw ElasticError.of('ELASTICLM_TOKENIZER_UNSUPPORTED', {
      expected: 'token types 0 for a first text, then 1 for a second',
      subject: 'the template of this tokenizer',
      received: `type ${tokenTypeIds[idx]!} at token ${idx}`,
    });
  }
  return length;
}
