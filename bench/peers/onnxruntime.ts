import type { PackedBatch } from '../../lib/types.js';
import { loadPeer } from './install.js';

/** The part of onnxruntime-node that is used here. */
interface OnnxTensor {
  data: Float32Array;
}
interface OnnxSession {
  run(feeds: Record<string, OnnxTensor>): Promise<Record<string, OnnxTensor>>;
  release(): Promise<void>;
}
interface OnnxRuntime {
  InferenceSession: { create(model: Uint8Array, options: object): Promise<OnnxSession> };
  Tensor: new (type: 'int64', data: BigInt64Array, dims: number[]) => OnnxTensor;
}

/** A padded batch as onnxruntime reads it: [B, longest] ids, types and mask. */
export type PaddedFeeds = Record<string, OnnxTensor>;

/** A session of onnxruntime-node with all of its graph optimisations, on a fixed number of threads. */
export class OnnxEncoder {
  private constructor(
    private readonly runtime: OnnxRuntime,
    private readonly session: OnnxSession,
  ) {}

  static async load(graph: Uint8Array, threads: number): Promise<OnnxEncoder> {
    const runtime = loadPeer('onnxruntime-node') as OnnxRuntime;
    const session = await runtime.InferenceSession.create(graph, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
      executionMode: 'sequential',
    });
    return new OnnxEncoder(runtime, session);
  }

  /** Pads a packed batch to its longest sequence, outside of what is timed. */
  pad(batch: PackedBatch): PaddedFeeds {
    const numSequences = batch.cuSeqlens.length - 1;
    const lengths = Array.from(
      { length: numSequences },
      (_, b) => batch.cuSeqlens[b + 1]! - batch.cuSeqlens[b]!,
    );
    const longest = Math.max(...lengths);
    const ids = new BigInt64Array(numSequences * longest);
    const types = new BigInt64Array(numSequences * longest);
    const mask = new BigInt64Array(numSequences * longest);
    lengths.forEach((length, b) => {
      const begin = batch.cuSeqlens[b]!;
      for (let i = 0; i < length; i++) {
        ids[b * longest + i] = BigInt(batch.inputIds[begin + i]!);
        types[b * longest + i] = BigInt(batch.tokenTypeIds[begin + i]!);
        mask[b * longest + i] = 1n;
      }
    });
    const tensor = (data: BigInt64Array) => new this.runtime.Tensor('int64', data, [numSequences, longest]);
    return { input_ids: tensor(ids), token_type_ids: tensor(types), attention_mask: tensor(mask) };
  }

  /** [B, E] normalised mean of the hidden states. */
  async forward(feeds: PaddedFeeds): Promise<Float32Array> {
    return (await this.session.run(feeds))['pooled']!.data;
  }

  close(): Promise<void> {
    return this.session.release();
  }
}
