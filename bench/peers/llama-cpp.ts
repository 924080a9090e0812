import path from 'node:path';
import type { PackedBatch } from '../../lib/types.js';
import { writeGguf, type GgufDtype } from './gguf.js';
import { importPeer, peerLabel } from './install.js';
import type { Peer, PeerModel } from './peer.js';

/** The part of node-llama-cpp that is used here. */
interface EmbeddingContext {
  getEmbeddingFor(tokens: number[]): Promise<{ vector: readonly number[] }>;
}
interface Llama {
  loadModel(options: object): Promise<{ createEmbeddingContext(options: object): Promise<EmbeddingContext> }>;
  dispose(): Promise<void>;
}
interface NodeLlamaCpp {
  getLlama(options: object): Promise<Llama>;
}

const packageName = 'node-llama-cpp';

/** An embedding context of node-llama-cpp. Its interface takes one text at a time, so a batch is one after another. */
export class LlamaCppEncoder implements Peer {
  readonly runtime = 'node-llama-cpp';

  private constructor(
    readonly name: string,
    private readonly llama: Llama,
    private readonly context: EmbeddingContext,
    private readonly hiddenSize: number,
  ) {}

  static async load(source: PeerModel, dtype: GgufDtype, threads: number): Promise<LlamaCppEncoder> {
    const library = (await importPeer(packageName)) as NodeLlamaCpp;
    const modelPath = path.join(source.scratch, `${dtype}.gguf`);
    await writeGguf(modelPath, source, dtype);
    const options = {
      gpu: false,
      build: 'never',
      skipDownload: true,
      maxThreads: threads,
      logLevel: 'error',
    };
    const llama = await library.getLlama(options);
    const { maxPositionEmbeddings: contextSize, hiddenSize } = source.config;
    const model = await llama.loadModel({ modelPath });
    const context = await model.createEmbeddingContext({ contextSize, batchSize: contextSize, threads });
    return new LlamaCppEncoder(`${peerLabel(packageName)}, ${dtype}`, llama, context, hiddenSize);
  }

  prepare({ inputIds, cuSeqlens }: PackedBatch): () => Promise<Float32Array> {
    const sequences = Array.from({ length: cuSeqlens.length - 1 }, (_, b) =>
      Array.from(inputIds.subarray(cuSeqlens[b], cuSeqlens[b + 1])),
    );
    return async () => {
      const result = new Float32Array(sequences.length * this.hiddenSize);
      for (const [b, tokens] of sequences.entries()) {
        const { vector } = await this.context.getEmbeddingFor(tokens);
        result.set(vector, b * this.hiddenSize);
      }
      return result;
    };
  }

  close(): Promise<void> {
    return this.llama.dispose();
  }
}
