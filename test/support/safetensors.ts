/** A small safetensors reader and writer, independent of native code. */
import { readFileSync, writeFileSync } from 'node:fs';
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from './float16.js';

export type StoredDtype = 'F32' | 'F16' | 'BF16';

export interface Tensor {
  shape: number[];
  /** the stored values; each is an f32 value whatever the dtype */
  values: Float32Array;
}

export type Tensors = Map<string, Tensor>;

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** What a value becomes when it is stored as `dtype`. */
export function stored(value: number, dtype: StoredDtype): number {
  if (dtype === 'F16') return f16ToNumber(numberToF16(Math.fround(value)));
  if (dtype === 'BF16') return bf16ToNumber(numberToBf16(value));
  return Math.fround(value);
}

export function writeSafetensors(path: string, tensors: Tensors, dtype: StoredDtype): void {
  const elementBytes = dtype === 'F32' ? 4 : 2;
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let bytes = 0;
  for (const [name, { shape, values }] of tensors) {
    const end = bytes + values.length * elementBytes;
    header[name] = { dtype, shape, data_offsets: [bytes, end] };
    bytes = end;
  }
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const file = Buffer.alloc(8 + padded.length + bytes);
  file.writeBigUInt64LE(BigInt(padded.length));
  file.write(padded, 8, 'latin1');
  let at = 8 + padded.length;
  for (const { values } of tensors.values()) {
    for (const value of values) {
      if (dtype === 'F32') file.writeFloatLE(value, at);
      else file.writeUInt16LE(dtype === 'F16' ? numberToF16(value) : numberToBf16(value), at);
      at += elementBytes;
    }
  }
  writeFileSync(path, file);
}

/** All tensors of some files; ones of other dtypes (position_ids) are left out. */
export function readSafetensors(paths: readonly string[]): Tensors {
  const tensors: Tensors = new Map();
  for (const path of paths) {
    const file = readFileSync(path);
    const headerBytes = Number(file.readBigUInt64LE());
    const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<string, HeaderEntry>;
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__' || !['F32', 'F16', 'BF16'].includes(entry.dtype)) continue;
      const [begin, end] = entry.data_offsets.map((offset) => 8 + headerBytes + offset) as [number, number];
      tensors.set(name, { shape: entry.shape, values: decode(file.subarray(begin, end), entry.dtype) });
    }
  }
  return tensors;
}

function decode(bytes: Buffer, dtype: string): Float32Array {
  const elementBytes = dtype === 'F32' ? 4 : 2;
  const values = new Float32Array(bytes.length / elementBytes);
  for (let i = 0; i < values.length; ++i) {
    if (dtype === 'F32') values[i] = bytes.readFloatLE(4 * i);
    else if (dtype === 'F16') values[i] = f16ToNumber(bytes.readUInt16LE(2 * i));
    else values[i] = bf16ToNumber(bytes.readUInt16LE(2 * i));
  }
  return values;
}
