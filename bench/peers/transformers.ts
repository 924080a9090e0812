import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { PackedBatch } from '../../lib/types.js';
import { importPeer, peerLabel } from './install.js';
import { buildBertOnnx, type GraphForm } from './onnx-bert.js';
import { pad, type Peer, type PeerModel } from './peer.js';

/** The part of transformers.js that is used here. */
interface Tensor {
  data: Float32Array;
  normalize(p: number, dim: number): Tensor;
}
interface EncoderModel {
  (inputs: Record<string, Tensor>): Promise<{ last_hidden_state: Tensor }>;
  dispose(): Promise<unknown>;
}
interface TransformersJs {
  env: { allowRemoteModels: boolean; localModelPath: string };
  AutoModel: { from_pretrained(name: string, options: object): Promise<EncoderModel> };
  Tensor: new (type: 'int64', data: BigInt64Array, dims: number[]) => Tensor;
  mean_pooling(hidden: Tensor, mask: Tensor): Tensor;
}

const packageName = '@huggingface/transformers';
const modelName = 'model';

/** The file that transformers.js looks for, and the graph in it: what Optimum exports, and its dynamic quantisation. */
const variants = {
  fp32: { file: 'model.onnx', form: { style: 'plain', output: 'last_hidden_state' } },
  q8: {
    file: 'model_quantized.onnx',
    form: { style: 'plain', quantized: { type: 's8', perChannel: false }, output: 'last_hidden_state' },
  },
} as const satisfies Record<string, { file: string; form: GraphForm }>;

export type TransformersDtype = keyof typeof variants;

/** What transformers.js's feature-extraction pipeline does after tokenising: model, mean pooling, normalising. */
export class TransformersEncoder implements Peer {
  readonly runtime = 'transformers.js';

  private constructor(
    readonly name: string,
    private readonly library: TransformersJs,
    private readonly model: EncoderModel,
  ) {}

  static async load(
    source: PeerModel,
    dtype: TransformersDtype,
    threads: number,
  ): Promise<TransformersEncoder> {
    const library = (await importPeer(packageName)) as TransformersJs;
    await writeModelFolder(source, dtype);
    library.env.allowRemoteModels = false;
    library.env.localModelPath = source.scratch;
    const model = await library.AutoModel.from_pretrained(modelName, {
      dtype,
      device: 'cpu',
      local_files_only: true,
      session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
    });
    return new TransformersEncoder(`${peerLabel(packageName)}, ${dtype}`, library, model);
  }

  prepare(batch: PackedBatch): () => Promise<Float32Array> {
    const { dims, ...padded } = pad(batch);
    const tensor = (data: BigInt64Array): Tensor => new this.library.Tensor('int64', data, dims);
    const mask = tensor(padded.attentionMask);
    const inputs = {
      input_ids: tensor(padded.inputIds),
      token_type_ids: tensor(padded.tokenTypeIds),
      attention_mask: mask,
    };
    return async () => {
      const { last_hidden_state: hidden } = await this.model(inputs);
      return this.library.mean_pooling(hidden, mask).normalize(2, -1).data;
    };
  }

  async close(): Promise<void> {
    await this.model.dispose();
  }
}

async function writeModelFolder(
  { config, read, ...source }: PeerModel,
  dtype: TransformersDtype,
): Promise<void> {
  const folder = path.join(source.scratch, modelName);
  const { file, form } = variants[dtype];
  await mkdir(path.join(folder, 'onnx'), { recursive: true });
  await writeFile(path.join(folder, 'onnx', file), buildBertOnnx(config, read, form));
  await writeFile(path.join(folder, 'config.json'), JSON.stringify({ model_type: 'bert' }));
  await copyFile(source.tokenizerPath, path.join(folder, 'tokenizer.json'));
}
