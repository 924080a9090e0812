import type { EncoderConfig, PackedBatch } from '../../lib/types.js';
import type { TensorReader } from './onnx-bert.js';

/** What every runtime is built from. */
export interface PeerModel {
  config: EncoderConfig;
  read: TensorReader;
  /** every id's token, for runtimes that do not take a model without its vocabulary */
  vocabulary: readonly string[];
  /** tokenizer.json of that vocabulary */
  tokenizerPath: string;
  /** an existing folder for the files that a runtime wants to read */
  scratch: string;
}

/** Another runtime with the model loaded, at some precision and number of threads. */
export interface Peer {
  /** package, version, and which of its ways of computing */
  name: string;
  runtime: 'onnxruntime' | 'transformers.js' | 'node-llama-cpp';
  /** Brings a batch into the runtime's form, which is not timed; what is returned gives [B, E] normalised means. */
  prepare(batch: PackedBatch): () => Promise<Float32Array>;
  close(): Promise<void>;
}

/** A batch as runtimes without packed sequences read it: [B, longest], row-major. */
export interface PaddedBatch {
  dims: [number, number];
  inputIds: BigInt64Array;
  tokenTypeIds: BigInt64Array;
  /** 1 at tokens, 0 at padding */
  attentionMask: BigInt64Array;
}

export function pad({ inputIds, tokenTypeIds, cuSeqlens }: PackedBatch): PaddedBatch {
  const numSequences = cuSeqlens.length - 1;
  const lengths = Array.from({ length: numSequences }, (_, b) => cuSeqlens[b + 1]! - cuSeqlens[b]!);
  const longest = Math.max(...lengths);
  const array = (): BigInt64Array => new BigInt64Array(numSequences * longest);
  const padded: PaddedBatch = {
    dims: [numSequences, longest],
    inputIds: array(),
    tokenTypeIds: array(),
    attentionMask: array(),
  };
  lengths.forEach((length, b) => {
    const begin = cuSeqlens[b]!;
    for (let i = 0; i < length; i++) {
      padded.inputIds[b * longest + i] = BigInt(inputIds[begin + i]!);
      padded.tokenTypeIds[b * longest + i] = BigInt(tokenTypeIds[begin + i]!);
      padded.attentionMask[b * longest + i] = 1n;
    }
  });
  return padded;
}
