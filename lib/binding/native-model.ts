/** One set of weights in native memory, with the threads that work on it. */
import type { EncoderConfig, PackedBatch, Pooling, Structure } from '../types.js';
import {
  loadAddon,
  type AddonModel,
  type AddonModelFacts,
  type AddonModelSpec,
  type Output,
} from './addon.js';
import { captureCallSite, runCall, toElasticError } from './call.js';
import { Lifecycle, loadNativeObject } from './lifecycle.js';

export type NativeModelSpec = AddonModelSpec;
export type NativeModelFacts = AddonModelFacts;

export interface NativeForwardSpec {
  batch: PackedBatch;
  /** [B] position in the structures given at load, or in `structures` where that is given */
  structureIdx: Int32Array;
  structures?: readonly Structure[];
  output: Output;
  pooling: Pooling;
  normalize: boolean;
  /** receives the result: [T, E], [B, E] or [B, numLabels]. Not to be touched before the promise settles. */
  out: Float32Array;
}

/** The full model's activations over one batch, summed over its tokens. */
export interface ActivationSums {
  /** [L * H] norms of each head's context */
  heads: Float64Array;
  /** [L * F] absolute activations after GELU */
  neurons: Float64Array;
  numTokens: number;
}

export class NativeModel {
  readonly #native: AddonModel;
  readonly #config: EncoderConfig;
  readonly #lifecycle = new Lifecycle('ELASTICLM_MODEL_CLOSED', 'model');

  private constructor(native: AddonModel, config: EncoderConfig) {
    this.#native = native;
    this.#config = config;
  }

  /** Reads and packs the weights on a thread of the model. */
  static async load(spec: NativeModelSpec): Promise<NativeModel> {
    const native = await loadNativeObject(() => new (loadAddon().Model)(spec));
    return new NativeModel(native, spec.config);
  }

  get closed(): boolean {
    return this.#lifecycle.closed;
  }

  facts(): NativeModelFacts {
    this.#lifecycle.check('NativeModel.facts()');
    return this.#native.facts();
  }

  /** Scratch memory held now. */
  arenaBytes(): number {
    this.#lifecycle.check('NativeModel.arenaBytes()');
    return this.#native.arenaBytes();
  }

  /** Fills `spec.out`. Ids and offsets are copied before this returns; no other thread may change them meanwhile. */
  async forward(spec: NativeForwardSpec, signal?: AbortSignal): Promise<void> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeModel.forward()');
    const { batch, ...rest } = spec;
    await runCall(() => this.#native.forward({ ...batch, ...rest }), site, signal);
  }

  /** What a forward of such a batch would run, for people to read. */
  plan(spec: Pick<NativeForwardSpec, 'structureIdx' | 'structures'> & { cuSeqlens: Int32Array }): string {
    this.#lifecycle.check('NativeModel.plan()');
    try {
      return this.#native.plan(spec);
    } catch (error) {
      throw toElasticError(error);
    }
  }

  /**
   * One batch's activations: add them up in the batches' order, so that the totals are the same bits every time.
   * @throws ELASTICLM_BACKEND_UNAVAILABLE on backend 'cuda', which does not measure them; ELASTICLM_PRECISION_UNSUPPORTED for
   * a model that is not in f32
   */
  async calibrate(batch: PackedBatch, signal?: AbortSignal): Promise<ActivationSums> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeModel.calibrate()');
    const { numLayers, numHeads, intermediateSize } = this.#config;
    const heads = new Float64Array(numLayers * numHeads);
    const neurons = new Float64Array(numLayers * intermediateSize);
    await runCall(() => this.#native.calibrate(batch, heads, neurons), site, signal);
    return { heads, neurons, numTokens: batch.inputIds.length };
  }

  /** Waits for the calls in flight, then frees weights and threads. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#lifecycle.close(() => this.#native.close());
  }
}
