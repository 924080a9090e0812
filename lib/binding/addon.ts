/**
 * The addon as native code exports it: `native/addon/` and this file say the same thing. Nothing outside `lib/binding`
 * sees these shapes. Every asynchronous call settles without a value: results go to arrays that the caller allocated,
 * or are read afterwards through a synchronous getter.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ElasticError } from '../errors.js';
import type {
  Backend,
  DeviceInfo,
  EncoderConfig,
  Objective,
  Pooling,
  Precision,
  Structure,
  TrainBatch,
} from '../types.js';

/** What a forward gives back. */
export type Output = 'hidden' | 'pooled' | 'pooler' | 'logits';

/** A queued call. `id` names it to `cancel` until `promise` settles. */
export interface AddonCall {
  id: number;
  promise: Promise<void>;
}

export interface AddonModelSpec {
  paths: readonly string[];
  config: EncoderConfig;
  /** structures that `structureIdx` of a forward points into */
  structures: readonly Structure[];
  /** [structures] the checkpoint's `elastic_adapters.N` that pooled vectors pass through; -1: none */
  adapterIdx: Int32Array;
  /** forwards that may run at once, each on a thread of its own; on the cpu they also share each other's work */
  threads: number;
  /** of the cpu: present where `cuda` is not */
  isa?: string;
  /** of the cpu */
  precision?: CpuPrecision;
  /** present: run on a GPU */
  cuda?: AddonCudaChoice;
}

export interface AddonCudaChoice {
  /** path of elasticlm_cuda.so */
  library: string;
  /** position of the GPU */
  device: number;
  precision: DevicePrecision;
  path: DevicePath;
}

/** What the cpu computes in. */
export type CpuPrecision = Extract<Precision, 'f32' | 'bf16' | 'i8'>;

/** What GPUs compute in. */
export type DevicePrecision = Extract<Precision, 'f32' | 'bf16' | 'f16'>;

/** Which kernels run: 'auto', but in tests and measurements. */
export type DevicePath = 'auto' | 'reference' | 'mma' | 'wgmma' | 'small';

export interface AddonBatch {
  inputIds: Int32Array;
  tokenTypeIds: Int32Array;
  cuSeqlens: Int32Array;
}

export interface AddonForwardSpec extends AddonBatch {
  /** [B] position in the structures given at load, or in `structures` where that is given */
  structureIdx: Int32Array;
  structures?: readonly Structure[];
  output: Output;
  pooling: Pooling;
  normalize: boolean;
  /** receives the result; exactly as long as the output */
  out: Float32Array;
}

export interface AddonModelFacts {
  backend: Exclude<Backend, 'auto'>;
  /** instruction set: 'avx512', 'sm_90' */
  isa: string;
  precision: CpuPrecision | DevicePrecision;
  threads: number;
  /** memory of the packed weights, on a GPU its own */
  weightBytes: number;
  /** rows of the classifier; 0 without one */
  numLabels: number;
  hasPooler: boolean;
  /** of backend 'cuda' */
  device?: DeviceInfo;
}

export interface AddonModel {
  load(): AddonCall;
  facts(): AddonModelFacts;
  arenaBytes(): number;
  forward(spec: AddonForwardSpec): AddonCall;
  plan(spec: Pick<AddonForwardSpec, 'cuSeqlens' | 'structureIdx' | 'structures'>): string;
  /** `heads` [L * H] and `neurons` [L * F] receive the batch's sums */
  calibrate(batch: AddonBatch, heads: Float64Array, neurons: Float64Array): AddonCall;
  /** Runs after all calls made before it, then frees the weights and the threads. */
  close(): AddonCall;
}

/** What an index stores its vectors in. */
export type VectorPrecision = Extract<Precision, 'f32' | 'i8'>;

export interface AddonIndexSpec {
  threads: number;
  isa: string;
}

export interface AddonIndex {
  open(path: string): AddonCall;
  /** Copies whole vectors; `build` makes them an index. */
  append(vectors: Float32Array): void;
  build(dims: number, precision: VectorPrecision): AddonCall;
  dims(): number;
  count(): number;
  precision(): VectorPrecision;
  /** memory of the vectors */
  bytes(): number;
  /** `queries` [Q, dims]; `documents` and `scores` [Q, min(topK, count)] receive the result */
  search(queries: Float32Array, topK: number, documents: Int32Array, scores: Float32Array): AddonCall;
  close(): AddonCall;
}

/** What a student trains above its encoder; heads that its checkpoint has are added. */
export interface AddonTrainedHeads {
  pooler: boolean;
  /** rows of the classifier; 0: what the checkpoint has */
  numLabels: number;
  /** the extra projection for relation alignment */
  relation: boolean;
  mlm: boolean;
  /** at least so many linear layers over the pooled vector, for SubLMs that have one to themselves */
  numAdapters: number;
}

export interface AddonTrainerSpec {
  config: EncoderConfig;
  /** the student's weights */
  paths: readonly string[];
  /** empty: no teacher */
  teacherPaths: readonly string[];
  /** by falling size, each contained in the one before: prefixes */
  structures: readonly Structure[];
  /** [structures] which adapter each has; -1: none */
  adapterIdx: Int32Array;
  heads: AddonTrainedHeads;
  /** of heads that the checkpoint lacks */
  seed: number;
  isa: string;
  precision: TrainPrecision;
  /** save the layers' inputs alone and compute the rest a second time in the backward */
  recompute: boolean;
  threads: number;
}

/** What linear layers are multiplied in while training. */
export type TrainPrecision = Extract<Precision, 'f32' | 'bf16'>;

/** 'traverse': one SubLM after the other; 'mixed': all in one pass */
export type StepMode = 'traverse' | 'mixed';

export interface AddonStepSpec extends AddonBatch, Omit<TrainBatch, 'batch'> {
  objective: Objective;
  /** [n] positions in the structures given at load, rising */
  structureIdx: Int32Array;
  /** [n] weight of each SubLM */
  weights: Float64Array;
  /** [n] of the batch's first sequences that each SubLM sees; absent: all */
  numSequences?: Int32Array;
  mode: StepMode;
  /** [n, 10] receives the losses: `Losses` of native/train/objective.h, in its order */
  losses: Float64Array;
}

/** AdamW: `AdamWOptions` of native/train/adamw.h. */
export interface AddonUpdateSpec {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** gradients of a larger global norm are scaled down to it; 0: no clipping */
  clipNorm: number;
}

export type StoredDtype = 'f32' | 'f16';

/** Calls run one at a time, in the order in which they were made. */
export interface AddonTrainer {
  load(): AddonCall;
  step(spec: AddonStepSpec): AddonCall;
  /** `heads` [L * H] and `neurons` [L * F] receive the gradients with respect to masks of ones */
  maskGradients(
    spec: Omit<AddonStepSpec, 'structureIdx' | 'weights' | 'numSequences' | 'mode' | 'losses'>,
    heads: Float64Array,
    neurons: Float64Array,
  ): AddonCall;
  /** `norm` [1] receives the gradients' global norm; where it is not finite nothing was changed */
  update(spec: AddonUpdateSpec, norm: Float64Array): AddonCall;
  writeCheckpoint(path: string, dtype: StoredDtype): AddonCall;
  writeState(path: string, metadata: string): AddonCall;
  readState(path: string): AddonCall;
  /** of the state read last */
  metadata(): string;
  numUpdates(): number;
  /** memory held after the last call: parameters, gradients, moments, packed weights, activations */
  bytes(): number;
  close(): AddonCall;
}

export interface AddonPermutation {
  heads: readonly (readonly number[])[];
  neurons: readonly (readonly number[])[];
}

export interface Addon {
  Model: new (spec: AddonModelSpec) => AddonModel;
  Index: new (spec: AddonIndexSpec) => AddonIndex;
  Trainer: new (spec: AddonTrainerSpec) => AddonTrainer;
  /** Stops a call: one that has not begun rejects at once and never runs. Unknown and settled ids are ignored. */
  readonly cancel: (id: number) => void;
  writePermutedCheckpoint(
    config: EncoderConfig,
    paths: readonly string[],
    permutation: AddonPermutation,
    output: string,
  ): AddonCall;
  outgoingNorms(
    config: EncoderConfig,
    paths: readonly string[],
    heads: Float64Array,
    neurons: Float64Array,
  ): AddonCall;
  /** `vectors` [count, dims] to `codes` [count, dims rounded up to 64] and `scales` [count], as an i8 index stores them */
  quantizeVectors(vectors: Float32Array, dims: number, codes: Uint8Array, scales: Float32Array): void;
  availableProcessors(): number;
  /** The instruction set that runs when `requested` ('' for the best one) is asked for. */
  chooseIsa(requested: string): string;
}

interface Package {
  root: string;
  version: string;
}

/** What node-gyp-build exports. */
interface AddonLoader {
  (folder: string): Addon;
  /** the file that it would load */
  path(folder: string): string;
}

let ownPackage: Package | undefined;
let loaded: Addon | undefined;

/** The folder and version of this package, wherever the running file lies inside it (lib/, dist/). */
export function findPackage(): Package {
  if (ownPackage !== undefined) return ownPackage;
  const begin = dirname(fileURLToPath(import.meta.url));
  for (let folder = begin; ; folder = dirname(folder)) {
    const found = readOwnManifest(folder);
    if (found !== undefined) return (ownPackage = found);
    if (folder === dirname(folder)) break;
  }
  throw ElasticError.of('ELASTICLM_ADDON_MISSING', {
    expected: "the package's own package.json in a parent folder",
    subject: begin,
    received: 'none up to the root of the file system',
    remedy: 'Do not bundle elasticlm: mark it as external, so that it runs from node_modules',
  });
}

function readOwnManifest(folder: string): Package | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, 'package.json'), 'utf8');
  } catch {
    return undefined; // most folders have none
  }
  const manifest = JSON.parse(text) as { name?: unknown; version?: unknown };
  if (manifest.name !== 'elasticlm') return undefined;
  return { root: folder, version: String(manifest.version) };
}

/**
 * The native addon: `build/Release` when it was built here, else the prebuilt binary of this platform.
 * @throws ELASTICLM_ADDON_MISSING with the loader's own message as its cause
 */
export function loadAddon(): Addon {
  if (loaded !== undefined) return loaded;
  const { root } = findPackage();
  try {
    loaded = addonLoader()(root);
    return loaded;
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('\n', 1)[0] ?? '') : String(cause);
    throw ElasticError.of(
      'ELASTICLM_ADDON_MISSING',
      {
        expected: 'a native addon that this process can load',
        subject: `${process.platform}-${process.arch}, Node ${process.versions.node}, in ${root}`,
        received: reason,
        remedy: 'Build it with a C++20 compiler and Python: npx node-gyp rebuild in that folder',
      },
      { cause },
    );
  }
}

/** The folder that the addon lies in. */
export function addonFolder(): string {
  loadAddon();
  return dirname(addonLoader().path(findPackage().root));
}

function addonLoader(): AddonLoader {
  // Not called `require`: the CommonJS build writes import.meta.url with the module's own require.
  const requirePackage = createRequire(import.meta.url);
  return requirePackage('node-gyp-build') as AddonLoader;
}
