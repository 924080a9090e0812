/** Parameters, gradients and moments in native memory, and the steps over them. */
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig, LossName, Objective, TrainBatch } from '../types.js';
import {
  loadAddon,
  type AddonTrainer,
  type AddonTrainerSpec,
  type AddonUpdateSpec,
  type StepMode,
  type StoredDtype,
} from './addon.js';
import { captureCallSite, runCall } from './call.js';
import { Lifecycle, loadNativeObject } from './lifecycle.js';

export type NativeTrainerSpec = AddonTrainerSpec;
export type UpdateOptions = AddonUpdateSpec;

export interface NativeStep {
  batch: TrainBatch;
  objective: Objective;
  /** positions in the structures given at load, rising */
  structureIdx: readonly number[];
  /** weight of each of them */
  weights: readonly number[];
  /** of the batch's first sequences that each of them sees; absent: all */
  numSequences?: readonly number[] | undefined;
  mode: StepMode;
}

/** Losses of one SubLM, each term times its weight; `total` is their sum. Not finite where a loss has overflowed. */
export interface LevelLosses extends Record<LossName, number> {
  total: number;
}

/** Gradients of the objective with respect to a mask of ones over each head's context and each neuron's output. */
export interface MaskGradients {
  /** [L * H] */
  heads: Float64Array;
  /** [L * F] */
  neurons: Float64Array;
}

/** `Losses` of native/train/objective.h, in its order. */
const lossFields = [
  'total',
  'embedding',
  'contrastive',
  'classification',
  'regression',
  'logits',
  'ranking',
  'hidden',
  'relation',
  'mlm',
] as const satisfies readonly (keyof LevelLosses)[];

/** Calls run one at a time, in the order in which they were made; what they are given is copied before they return. */
export class NativeTrainer {
  readonly #native: AddonTrainer;
  readonly #config: EncoderConfig;
  readonly #lifecycle = new Lifecycle('ELASTICLM_TRAINER_CLOSED', 'trainer');

  private constructor(native: AddonTrainer, config: EncoderConfig) {
    this.#native = native;
    this.#config = config;
  }

  /**
   * Reads student and teacher on a thread of the trainer.
   * @throws ELASTICLM_STRUCTURE_INVALID, and what loading a checkpoint throws
   */
  static async load(spec: NativeTrainerSpec): Promise<NativeTrainer> {
    const native = await loadNativeObject(() => new (loadAddon().Trainer)(spec));
    return new NativeTrainer(native, spec.config);
  }

  get closed(): boolean {
    return this.#lifecycle.closed;
  }

  /** Updates done, those of the state that was read included. */
  get numUpdates(): number {
    this.#lifecycle.check('NativeTrainer.numUpdates');
    return this.#native.numUpdates();
  }

  /** Memory held after the last call. */
  get bytes(): number {
    this.#lifecycle.check('NativeTrainer.bytes');
    return this.#native.bytes();
  }

  /**
   * Forward, losses and backward of one micro-batch at some SubLMs; adds to the gradients.
   * @throws ELASTICLM_BATCH_INVALID, ELASTICLM_CONFIG_INVALID; ELASTICLM_CALL_ABORTED, with the gradients cleared
   */
  async step(step: NativeStep, signal?: AbortSignal): Promise<LevelLosses[]> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeTrainer.step()');
    const losses = new Float64Array(step.structureIdx.length * lossFields.length);
    const spec = {
      ...batchSpec(step.batch, step.objective),
      structureIdx: Int32Array.from(step.structureIdx),
      weights: Float64Array.from(step.weights),
      ...(step.numSequences && { numSequences: Int32Array.from(step.numSequences) }),
      mode: step.mode,
      losses,
    };
    await runCall(() => this.#native.step(spec), site, signal);
    return step.structureIdx.map((_, position) => {
      const begin = position * lossFields.length;
      return Object.fromEntries(
        lossFields.map((name, field) => [name, losses[begin + field]!]),
      ) as unknown as LevelLosses;
    });
  }

  /** The full structure's mask gradients over one batch; parameters and gradients stay as they are. @throws as step() */
  async maskGradients(batch: TrainBatch, objective: Objective, signal?: AbortSignal): Promise<MaskGradients> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeTrainer.maskGradients()');
    const { numLayers, numHeads, intermediateSize } = this.#config;
    const heads = new Float64Array(numLayers * numHeads);
    const neurons = new Float64Array(numLayers * intermediateSize);
    const spec = batchSpec(batch, objective);
    await runCall(() => this.#native.maskGradients(spec, heads, neurons), site, signal);
    return { heads, neurons };
  }

  /** One AdamW update; clears the gradients. Their global norm; where it is not finite, nothing was changed. */
  async update(options: UpdateOptions): Promise<number> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeTrainer.update()');
    const norm = new Float64Array(1);
    await runCall(() => this.#native.update(options, norm), site);
    return norm[0]!;
  }

  /** The parameters as an ordinary checkpoint's weights; appears whole or not at all. @throws ELASTICLM_FILE_UNWRITABLE */
  async writeCheckpoint(path: string, dtype: StoredDtype): Promise<void> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeTrainer.writeCheckpoint()');
    await runCall(() => this.#native.writeCheckpoint(path, dtype), site);
  }

  /**
   * Parameters, moments and the number of updates, with the caller's own words; replaces the file whole or leaves it as it was.
   * @throws ELASTICLM_FILE_UNWRITABLE
   */
  async writeState(path: string, metadata: string): Promise<void> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeTrainer.writeState()');
    await runCall(() => this.#native.writeState(path, metadata), site);
  }

  /**
   * Goes back to a state, to the bit, and gives the words it was written with.
   * @throws ELASTICLM_CHECKPOINT_INVALID for a state that is broken or another model's, ELASTICLM_FILE_NOT_FOUND; nothing is
   * changed then
   */
  async readState(path: string): Promise<string> {
    const site = captureCallSite();
    this.#lifecycle.check('NativeTrainer.readState()');
    await runCall(() => this.#native.readState(path), site);
    return this.#native.metadata();
  }

  /** Waits for the calls in flight, then frees memory and threads. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#lifecycle.close(() => this.#native.close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

type BatchSpec = Parameters<AddonTrainer['maskGradients']>[0];

function batchSpec({ batch, ...targets }: TrainBatch, objective: Objective): BatchSpec {
  const arrays = { ...batch, ...targets };
  for (const [field, value] of Object.entries(arrays) as [string, unknown][]) {
    const isFloats = field === 'targets' || field === 'relevance';
    const isRight =
      field === 'numQueries'
        ? Number.isSafeInteger(value) && Number(value) >= 0
        : value instanceof (isFloats ? Float32Array : Int32Array);
    if (value === undefined || isRight) continue;
    throw ElasticError.of('ELASTICLM_BATCH_INVALID', {
      expected: field === 'numQueries' ? 'a count' : isFloats ? 'a Float32Array' : 'an Int32Array',
      subject: field,
      received: describeValue(value),
    });
  }
  return { ...arrays, objective };
}
