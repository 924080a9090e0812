import type { PackedBatch } from '../../lib/types.js';
import { loadPeer, peerLabel } from './install.js';
import { buildBertOnnx, type GraphForm } from './onnx-bert.js';
import { pad, type Peer, type PeerModel } from './peer.js';

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

const packageName = 'onnxruntime-node';
const styles: readonly GraphForm['style'][] = ['plain', 'fused'];

/** Every way to write the model down in f32. */
export const floatForms: readonly GraphForm[] = styles.map((style) => ({ style, output: 'pooled' }));

/** Every way that `quantize_dynamic` may quantise it: which one is fastest depends on the shape. */
export const int8Forms: readonly GraphForm[] = styles.flatMap((style) =>
  (['s8', 'u8'] as const).flatMap((type) =>
    [false, true].map(
      (perChannel) => ({ style, quantized: { type, perChannel }, output: 'pooled' }) as const,
    ),
  ),
);

function describe({ style, quantized }: GraphForm): string {
  if (quantized === undefined) return `f32, ${style} graph`;
  return `dynamic int8, ${style} graph, ${quantized.type} weights per ${quantized.perChannel ? 'channel' : 'tensor'}`;
}

/** A session of onnxruntime-node with all of its graph optimisations, on a fixed number of threads. */
export class OnnxEncoder implements Peer {
  readonly runtime = 'onnxruntime';

  private constructor(
    readonly name: string,
    private readonly onnx: OnnxRuntime,
    private readonly session: OnnxSession,
  ) {}

  static async load(model: PeerModel, form: GraphForm, threads: number): Promise<OnnxEncoder> {
    const onnx = loadPeer(packageName) as OnnxRuntime;
    const session = await onnx.InferenceSession.create(buildBertOnnx(model.config, model.read, form), {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
      executionMode: 'sequential',
    });
    return new OnnxEncoder(`${peerLabel(packageName)}, ${describe(form)}`, onnx, session);
  }

  prepare(batch: PackedBatch): () => Promise<Float32Array> {
    const { dims, ...padded } = pad(batch);
    const tensor = (data: BigInt64Array): OnnxTensor => new this.onnx.Tensor('int64', data, dims);
    const feeds = {
      input_ids: tensor(padded.inputIds),
      token_type_ids: tensor(padded.tokenTypeIds),
      attention_mask: tensor(padded.attentionMask),
    };
    return async () => (await this.session.run(feeds))['pooled']!.data;
  }

  close(): Promise<void> {
    return this.session.release();
  }
}
