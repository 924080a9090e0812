/** The index file of `native/search/vector_index.h`, from the TypeScript side: written here, its ids read here. */
import { randomUUID } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { quantizeVectors, type VectorPrecision } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';

const magic = 'ELMVIDX1';
const headerBytes = 64;
const precisionCodes: Record<VectorPrecision, number> = { f32: 0, i8: 1 };
/** Quantised per turn of the event loop: about a millisecond. */
const floatsPerTurn = 1 << 18;

/** What the vectors of an index are like. */
export interface IndexShape {
  dims: number;
  precision: VectorPrecision;
}

interface Header extends IndexShape {
  count: number;
  idsOffset: number;
  idsBytes: number;
}

/**
 * Writes an index of any size, a part at a time. The file appears under its name only when finish() has ended, whole and
 * on the disk: readers of an older one keep theirs.
 */
export class IndexWriter {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  readonly #shape: IndexShape;
  /** ids as JSON strings */
  readonly #ids: string[] = [];
  /** of the quantised vectors; they stand behind all codes */
  readonly #scales: Float32Array[] = [];
  #position = headerBytes;

  private constructor(path: string, temporary: string, file: FileHandle, shape: IndexShape) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
    this.#shape = shape;
  }

  /** @throws ELASTICLM_FILE_UNWRITABLE */
  static async create(path: string, shape: IndexShape): Promise<IndexWriter> {
    const temporary = `${path}.${randomUUID()}.tmp`;
    const file = await writing(path, () => open(temporary, 'wx'));
    return new IndexWriter(path, temporary, file, shape);
  }

  /** @param vectors [ids.length, dims] */
  async append(ids: readonly string[], vectors: Float32Array): Promise<void> {
    if (this.#shape.precision === 'f32') await this.#write(bytesOf(vectors));
    else await this.#appendQuantized(vectors);
    for (const id of ids) this.#ids.push(JSON.stringify(id));
  }

  async #appendQuantized(vectors: Float32Array): Promise<void> {
    const { dims } = this.#shape;
    const step = Math.max(1, Math.floor(floatsPerTurn / dims)) * dims;
    for (let begin = 0; begin < vectors.length; begin += step) {
      const { codes, scales } = quantizeVectors(vectors.subarray(begin, begin + step), dims);
      this.#scales.push(scales);
      await this.#write(codes);
      await setImmediate();
    }
  }

  async finish(): Promise<void> {
    for (const scales of this.#scales) await this.#write(bytesOf(scales));
    const idsOffset = this.#position;
    const idBytes = Buffer.from(`[${this.#ids.join(',')}]`);
    await this.#write(idBytes);
    const header = encodeHeader({
      ...this.#shape,
      count: this.#ids.length,
      idsOffset,
      idsBytes: idBytes.length,
    });
    await writing(this.#path, async () => {
      await writeFully(this.#file, header, 0);
      await this.#file.sync();
      await this.#file.close();
      await rename(this.#temporary, this.#path);
    });
  }

  /** Leaves nothing behind. After finish() it does nothing. */
  async abandon(): Promise<void> {
    await this.#file.close().catch(() => undefined);
    await rm(this.#temporary, { force: true });
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await writing(this.#path, () => writeFully(this.#file, bytes, this.#position));
    this.#position += bytes.length;
  }
}

/** The ids of an index file, whose header native code has checked against the file's size. */
export async function readIndexIds(path: string): Promise<string[]> {
  const file = await open(path, 'r');
  try {
    const { count, idsOffset, idsBytes } = decodeHeader(await readFully(file, headerBytes, 0));
    const text = (await readFully(file, idsBytes, idsOffset)).toString('utf8');
    const ids = parseIds(text);
    if (ids?.length === count) return ids;
    throw ElasticError.of('ELASTICLM_INDEX_INVALID', {
      expected: `a JSON array of ${count} strings as its ids`,
      subject: path,
      received: ids === undefined ? 'something else' : describeValue(ids),
      remedy: 'Write the index again with VectorIndex.save()',
    });
  } finally {
    await file.close();
  }
}

function parseIds(text: string): string[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((id) => typeof id === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}

function encodeHeader({ dims, precision, count, idsOffset, idsBytes }: Header): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.write(magic, 'latin1');
  header.writeUInt32LE(dims, 8);
  header.writeUInt32LE(precisionCodes[precision], 12);
  header.writeBigUInt64LE(BigInt(count), 16);
  header.writeBigUInt64LE(BigInt(idsOffset), 24);
  header.writeBigUInt64LE(BigInt(idsBytes), 32);
  return header;
}

/** Of a header that native code has checked. */
function decodeHeader(header: Buffer): Pick<Header, 'count' | 'idsOffset' | 'idsBytes'> {
  return {
    count: Number(header.readBigUInt64LE(16)),
    idsOffset: Number(header.readBigUInt64LE(24)),
    idsBytes: Number(header.readBigUInt64LE(32)),
  };
}

function bytesOf(vectors: Float32Array): Uint8Array {
  return new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength);
}

/** A write may take fewer bytes than given (2 GiB at most in one call). */
async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  const maxWrite = 1 << 30;
  for (let done = 0; done < bytes.length;) {
    const length = Math.min(bytes.length - done, maxWrite);
    done += (await file.write(bytes, done, length, position + done)).bytesWritten;
  }
}

async function readFully(file: FileHandle, length: number, position: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) return bytes.subarray(0, done);
    done += bytesRead;
  }
  return bytes;
}

async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_UNWRITABLE',
      { expected: 'a place to write the index to', subject: path, received: (cause as Error).message },
      { cause },
    );
  }
}
