/**
 * Records shared by more than one folder. Axes: B sequences, T packed tokens, L layers, H heads, F neurons, E hidden.
 */

/** One text (or pair) as the model reads it. All arrays have the same length, the sequence's number of tokens. */
export interface Encoding {
  inputIds: Int32Array;
  tokenTypeIds: Int32Array;
  /** UTF-16 [begin, end) of each token in its text, flattened pairs; special tokens are [0, 0). Present when asked for. */
  offsets?: Int32Array;
}

/** Sequences packed end to end, never padded. The only thing that crosses from text to compute. */
export interface PackedBatch {
  /** [T] vocabulary ids */
  inputIds: Int32Array;
  /** [T] 0 for the first text of a pair, 1 for the second */
  tokenTypeIds: Int32Array;
  /** [B + 1] token offsets: sequence b holds tokens cuSeqlens[b] up to cuSeqlens[b + 1]; no sequence is empty */
  cuSeqlens: Int32Array;
}

/** Kept heads of one layer: the first n, or a strictly rising list of head positions. */
export type KeptHeads = number | readonly number[];

/**
 * Kept neurons of one layer: the first n, or a strictly rising list of neuron blocks. Block j holds the neurons
 * 16 j up to 16 j + 15 (the last block may be shorter).
 */
export type KeptNeurons = number | readonly number[];

/** An explicit SubLM: what each layer keeps. Both lists have one entry per layer. */
export interface Structure {
  heads: readonly KeptHeads[];
  neurons: readonly KeptNeurons[];
}

/** One SubLM of a checkpoint. */
export interface Level {
  /** preserving level p in (0, 1] as the paper counts it */
  level: number;
  /** [L] heads kept by each layer */
  heads: number[];
  /** [L] neurons kept by each layer */
  neurons: number[];
  /** flops of a 128-token forward at this level over those at level 1, attention included */
  computeFraction: number;
  /** the checkpoint's `elastic_adapters.N` that pooled vectors of this level pass through; absent: none */
  adapter?: number;
}

/** The fields of a BERT config.json that decide the computation. */
export interface EncoderConfig {
  vocabSize: number;
  hiddenSize: number;
  numLayers: number;
  numHeads: number;
  headDim: number;
  intermediateSize: number;
  maxPositionEmbeddings: number;
  typeVocabSize: number;
  layerNormEps: number;
}

/** Where a model runs. */
export type Backend = 'auto' | 'cpu' | 'cuda';
/**
 * What linear layers and attention compute in; sums, softmax, residuals and LayerNorm are f32 in each. On the cpu 'f32', 'bf16'
 * and 'i8'; on a GPU 'bf16', 'f16' and 'f32'. 'i8' has weights scaled per output channel and rows scaled per token.
 */
export type Precision = 'auto' | 'f32' | 'bf16' | 'i8' | 'f16';
export type Pooling = 'cls' | 'mean';

/** The GPU that runs a model. */
export interface DeviceInfo {
  /** position among the GPUs that the driver shows */
  idx: number;
  /** as the driver says, e.g. 'NVIDIA H200' */
  name: string;
  /** e.g. '9.0' */
  computeCapability: string;
  numMultiprocessors: number;
  /** true when the library's emulator runs instead of a GPU: right results, no speed; for tests */
  emulated: boolean;
}

/** Weights and settings of the losses; `native/train/objective.h` says what each is. A term that is absent has weight 0. */
export interface Objective {
  /** default 'mean' */
  pooling?: Pooling;
  embedding?: {
    cosineWeight?: number;
    mseWeight?: number;
    similarityWeight?: number;
    /** default 0.05 */
    temperature?: number;
  };
  contrastive?: { weight: number; temperature?: number };
  classification?: { weight: number };
  regression?: { weight: number };
  logits?: { weight: number; temperature?: number };
  ranking?: { labelWeight?: number; teacherWeight?: number; temperature?: number };
  hidden?: { weight: number };
  relation?: { weight: number; numRelationHeads?: number };
  mlm?: { weight: number };
}

/** One loss's name, as logs and results call it. */
export type LossName = Exclude<keyof Objective, 'pooling'>;

/** One micro-batch with what its losses compare against. */
export interface TrainBatch {
  batch: PackedBatch;
  /** [B] classes, for classification */
  labels?: Int32Array;
  /** [B] numbers, for regression */
  targets?: Float32Array;
  /** [lists + 1] and [B], for ranking */
  cuLists?: Int32Array;
  relevance?: Float32Array;
  /** for contrastive: the first sequences are queries, sequence numQueries + i answers query i, the rest are hard negatives */
  numQueries?: number;
  /** [T] vocabulary ids to predict, -1 elsewhere, for mlm */
  mlmLabels?: Int32Array;
}
