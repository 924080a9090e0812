/** Writes a BERT encoder as the GGUF file (version 3) that llama.cpp loads for architecture "bert". */
import { open, type FileHandle } from 'node:fs/promises';
import { numberToBf16, numberToF16 } from '../../test/support/float16.js';
import type { PeerModel } from './peer.js';

/** How the linear layers' weights are stored; everything else is f32. */
export type GgufDtype = 'F32' | 'F16' | 'BF16' | 'Q8_0';

/** Numbers of GGUF's value types and of ggml's tensor types. */
const valueTypes = { uint32: 4, float32: 6, bool: 7, string: 8, array: 9, int32: 5 } as const;
const tensorTypes: Record<GgufDtype, number> = { F32: 0, F16: 1, Q8_0: 8, BF16: 30 };
/** `general.file_type`: mostly which of them. */
const fileTypes: Record<GgufDtype, number> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 };
const tokenTypes = { normal: 1, unknown: 2, control: 3 } as const;
const meanPooling = 1;
const alignment = 32;
const version = 3;
/** Q8_0: 32 integers with one f16 scale. */
const blockSize = 32;
const blockBytes = 2 + blockSize;

type ValueType = Exclude<keyof typeof valueTypes, 'array'>;
interface Value {
  type: ValueType;
  value: number | boolean | string | readonly number[] | readonly string[];
}

interface TensorEntry {
  name: string;
  source: string;
  dtype: GgufDtype;
  /** as Hugging Face stores it: [rows, columns], or [size] */
  shape: number[];
}

/** Grows as it is written to. */
class Bytes {
  private readonly parts: Buffer[] = [];

  uint32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.parts.push(part);
  }

  uint64(value: number): void {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    this.parts.push(part);
  }

  string(text: string): void {
    const part = Buffer.from(text, 'utf8');
    this.uint64(part.length);
    this.parts.push(part);
  }

  scalar(type: ValueType, value: unknown): void {
    const part = Buffer.alloc(type === 'bool' ? 1 : 4);
    switch (type) {
      case 'string':
        this.string(value as string);
        return;
      case 'bool':
        part.writeUInt8(value === true ? 1 : 0);
        break;
      case 'float32':
        part.writeFloatLE(value as number);
        break;
      case 'int32':
        part.writeInt32LE(value as number);
        break;
      case 'uint32':
        part.writeUInt32LE(value as number);
    }
    this.parts.push(part);
  }

  concat(): Buffer {
    return Buffer.concat(this.parts);
  }
}

export async function writeGguf(path: string, model: PeerModel, dtype: GgufDtype): Promise<void> {
  const tensors = tensorEntries(model, dtype);
  const values = metadata(model, dtype);
  const head = new Bytes();
  head.uint32(0x46554747); // "GGUF"
  head.uint32(version);
  head.uint64(tensors.length);
  head.uint64(Object.keys(values).length);
  for (const [key, value] of Object.entries(values)) writeValue(head, key, value);
  let offset = 0;
  for (const { name, shape, dtype: stored } of tensors) {
    head.string(name);
    head.uint32(shape.length);
    for (const size of [...shape].reverse()) head.uint64(size); // the fastest axis first
    head.uint32(tensorTypes[stored]);
    head.uint64(offset);
    offset += aligned(bytesOf(shape, stored));
  }
  const file = await open(path, 'w');
  try {
    await writePadded(file, head.concat());
    for (const tensor of tensors) await writePadded(file, encode(model.read(tensor.source), tensor.dtype));
  } finally {
    await file.close();
  }
}

function writeValue(head: Bytes, key: string, { type, value }: Value): void {
  head.string(key);
  if (!Array.isArray(value)) {
    head.uint32(valueTypes[type]);
    head.scalar(type, value);
    return;
  }
  head.uint32(valueTypes.array);
  head.uint32(valueTypes[type]);
  head.uint64(value.length);
  for (const item of value as unknown[]) head.scalar(type, item);
}

/** Word pieces as llama.cpp wants them: the beginning of a word is marked instead of its continuation. */
function ggufToken(token: string): string {
  if (/^\[.*\]$/.test(token)) return token;
  return token.startsWith('##') ? token.slice(2) : `\u2581${token}`;
}

function tokenType(token: string): number {
  if (token === '[UNK]') return tokenTypes.unknown;
  return /^\[(PAD|CLS|SEP|MASK)\]$/.test(token) ? tokenTypes.control : tokenTypes.normal;
}

function metadata({ config, vocabulary }: PeerModel, dtype: GgufDtype): Record<string, Value> {
  const uint32 = (value: number): Value => ({ type: 'uint32', value });
  const special = (token: string): Value => uint32(vocabulary.indexOf(token));
  return {
    'general.architecture': { type: 'string', value: 'bert' },
    'general.name': { type: 'string', value: 'benchmark' },
    'general.alignment': uint32(alignment),
    'general.file_type': uint32(fileTypes[dtype]),
    'bert.block_count': uint32(config.numLayers),
    'bert.context_length': uint32(config.maxPositionEmbeddings),
    'bert.embedding_length': uint32(config.hiddenSize),
    'bert.feed_forward_length': uint32(config.intermediateSize),
    'bert.attention.head_count': uint32(config.numHeads),
    'bert.attention.layer_norm_epsilon': { type: 'float32', value: config.layerNormEps },
    'bert.attention.causal': { type: 'bool', value: false },
    'bert.pooling_type': uint32(meanPooling),
    'tokenizer.ggml.model': { type: 'string', value: 'bert' },
    'tokenizer.ggml.token_type_count': uint32(config.typeVocabSize),
    'tokenizer.ggml.tokens': { type: 'string', value: vocabulary.map(ggufToken) },
    'tokenizer.ggml.token_type': { type: 'int32', value: vocabulary.map(tokenType) },
    'tokenizer.ggml.bos_token_id': special('[CLS]'),
    'tokenizer.ggml.cls_token_id': special('[CLS]'),
    'tokenizer.ggml.eos_token_id': special('[SEP]'),
    'tokenizer.ggml.seperator_token_id': special('[SEP]'),
    'tokenizer.ggml.unknown_token_id': special('[UNK]'),
    'tokenizer.ggml.padding_token_id': special('[PAD]'),
    'tokenizer.ggml.mask_token_id': special('[MASK]'),
  };
}

function tensorEntries({ config }: PeerModel, dtype: GgufDtype): TensorEntry[] {
  const { hiddenSize: E, intermediateSize: F } = config;
  const entries: TensorEntry[] = [];
  const add = (name: string, source: string, shape: number[], stored: GgufDtype = 'F32'): void => {
    entries.push({ name, source, shape, dtype: stored });
  };
  const linear = (name: string, source: string, rows: number, columns: number): void => {
    add(`${name}.weight`, `${source}.weight`, [rows, columns], dtype);
    add(`${name}.bias`, `${source}.bias`, [rows]);
  };
  const layerNorm = (name: string, source: string): void => {
    add(`${name}.weight`, `${source}.weight`, [E]);
    add(`${name}.bias`, `${source}.bias`, [E]);
  };
  add('token_embd.weight', 'embeddings.word_embeddings.weight', [config.vocabSize, E]);
  add('token_types.weight', 'embeddings.token_type_embeddings.weight', [config.typeVocabSize, E]);
  add('position_embd.weight', 'embeddings.position_embeddings.weight', [config.maxPositionEmbeddings, E]);
  layerNorm('token_embd_norm', 'embeddings.LayerNorm');
  for (let layer = 0; layer < config.numLayers; layer++) {
    const [name, source] = [`blk.${layer}`, `encoder.layer.${layer}`];
    linear(`${name}.attn_q`, `${source}.attention.self.query`, E, E);
    linear(`${name}.attn_k`, `${source}.attention.self.key`, E, E);
    linear(`${name}.attn_v`, `${source}.attention.self.value`, E, E);
    linear(`${name}.attn_output`, `${source}.attention.output.dense`, E, E);
    layerNorm(`${name}.attn_output_norm`, `${source}.attention.output.LayerNorm`);
    linear(`${name}.ffn_up`, `${source}.intermediate.dense`, F, E);
    linear(`${name}.ffn_down`, `${source}.output.dense`, E, F);
    layerNorm(`${name}.layer_output_norm`, `${source}.output.LayerNorm`);
  }
  return entries;
}

function bytesOf(shape: readonly number[], dtype: GgufDtype): number {
  const count = shape.reduce((product, size) => product * size, 1);
  if (dtype === 'Q8_0') return (count / blockSize) * blockBytes;
  return count * (dtype === 'F32' ? 4 : 2);
}

function encode(values: Float32Array, dtype: GgufDtype): Buffer {
  const bytes = Buffer.alloc(bytesOf([values.length], dtype));
  switch (dtype) {
    case 'F32':
      return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    case 'F16':
      for (let i = 0; i < values.length; i++) bytes.writeUInt16LE(numberToF16(values[i]!), 2 * i);
      return bytes;
    case 'BF16':
      for (let i = 0; i < values.length; i++) bytes.writeUInt16LE(numberToBf16(values[i]!), 2 * i);
      return bytes;
    case 'Q8_0':
      for (let block = 0; block * blockSize < values.length; block++) {
        const part = values.subarray(block * blockSize, (block + 1) * blockSize);
        const scale = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
        bytes.writeUInt16LE(numberToF16(scale), block * blockBytes);
        part.forEach((value, i) => {
          bytes.writeInt8(scale === 0 ? 0 : Math.round(value / scale), block * blockBytes + 2 + i);
        });
      }
      return bytes;
  }
}

const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

async function writePadded(file: FileHandle, bytes: Buffer): Promise<void> {
  await file.write(bytes);
  await file.write(Buffer.alloc(aligned(bytes.length) - bytes.length));
}
