/** One encoder, loaded once, that runs at every level of its checkpoint. */
import { resolve } from 'node:path';
import {
  allocateFloats,
  type ActivationSums,
  type NativeModel,
  type NativeModelFacts,
  type Output,
} from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig, Level, PackedBatch, Pooling, Structure } from '../types.js';
import { checkBatch } from './check-batch.js';
import { readCheckpoint, type CheckpointFiles } from './checkpoint.js';
import { computeFraction } from './compute-fraction.js';
import { LevelTable } from './level-table.js';
import { loadNative, type LoadedModel } from './load-native.js';
import { checkLoadOptions, type LoadOptions } from './load-options.js';
import { checkStructure } from './check-structure.js';
import { packageVersion } from './package-version.js';

/** What is known of a checkpoint once it has been loaded. */
export interface CheckpointFacts extends Omit<CheckpointFiles, 'config' | 'directory'> {
  /** rows of the classifier; 0 without one */
  readonly numLabels: number;
}

export interface ForwardOptions {
  /** one level for all sequences, or one for each of the B sequences; default 1. Not together with `structure`. */
  level?: number | readonly number[];
  /** an explicit SubLM for all sequences */
  structure?: Structure;
  /** 'hidden' [T, E], 'pooled' [B, E], 'pooler' [B, E] (tanh of the pooler's dense), 'logits' [B, numLabels] */
  output: Output;
  /** for 'pooled'; default: what the checkpoint says, else 'mean' */
  pooling?: Pooling;
  /** for 'pooled': divide by the Euclidean norm; default: what the checkpoint says, else false */
  normalize?: boolean;
  signal?: AbortSignal;
}

export interface ForwardResult {
  /** rows of `dims` floats: one per token ('hidden') or per sequence */
  data: Float32Array;
  dims: number;
  /** [B] the level that each sequence ran at; undefined for an explicit structure */
  levels: (number | undefined)[];
}

/** What really runs. */
export interface ModelInfo extends NativeModelFacts {
  /** why backend 'auto' chose the cpu; absent when a backend was asked for, and on a GPU */
  backendReason?: string;
  /**
   * on the cpu the size of the checkpoint's files, mapped for the embedding tables: shared with other processes, read on
   * demand; on a GPU 0, for they are in its memory
   */
  mappedBytes: number;
  /** scratch memory held now: by the threads, or on the GPU */
  arenaBytes: number;
  /** of this package */
  version: string;
}

/** Where each sequence's structure stands: in the checkpoint's levels, or in `structures` where that is given. */
interface ChosenStructures {
  structureIdx: Int32Array;
  structures?: readonly Structure[];
  levels: (number | undefined)[];
}

interface ModelParts extends LoadedModel {
  directory: string;
  config: EncoderConfig;
  levels: readonly Level[];
  checkpoint: CheckpointFacts;
}

export class ElasticModel {
  /** absolute */
  readonly directory: string;
  readonly config: EncoderConfig;
  /** falling; the first is 1, the whole model */
  readonly levels: readonly Level[];
  readonly checkpoint: CheckpointFacts;
  readonly #native: NativeModel;
  readonly #backendReason: string | undefined;
  readonly #levelTable: LevelTable;

  private constructor(parts: ModelParts) {
    this.directory = parts.directory;
    this.config = parts.config;
    this.levels = parts.levels;
    this.checkpoint = parts.checkpoint;
    this.#native = parts.native;
    this.#backendReason = parts.backendReason;
    this.#levelTable = new LevelTable(parts.levels);
  }

  /**
   * Loads a checkpoint's folder. Files are read and weights are packed away from the event loop.
   * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_CONFIG_UNSUPPORTED, ELASTICLM_CONFIG_INVALID, ELASTICLM_ELASTIC_INVALID,
   * ELASTICLM_CHECKPOINT_INVALID, ELASTICLM_TENSOR_MISSING, ELASTICLM_TENSOR_SHAPE_MISMATCH, ELASTICLM_DTYPE_UNSUPPORTED,
   * ELASTICLM_PRECISION_UNSUPPORTED, ELASTICLM_ISA_UNSUPPORTED, ELASTICLM_ARGUMENT_INVALID; for a GPU
   * ELASTICLM_BACKEND_UNAVAILABLE (backend 'cuda' where there is no library, driver or GPU that it can use, or for a model
   * that it cannot run), ELASTICLM_DEVICE_MEMORY_EXHAUSTED, ELASTICLM_DEVICE_FAILED
   */
  static async load(directory: string, options: LoadOptions = {}): Promise<ElasticModel> {
    if (typeof directory !== 'string') {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: "the path of a checkpoint's folder",
        subject: 'directory',
        received: describeValue(directory),
      });
    }
    const request = checkLoadOptions(options);
    const { config, directory: folder, ...files }: CheckpointFiles = await readCheckpoint(resolve(directory));
    const levels = levelsOf(config, files);
    const adapterIdx = Int32Array.from(levels, ({ adapter = -1 }) => adapter);
    const loaded = await loadNative({ paths: files.files, config, structures: levels, adapterIdx }, request);
    const { numLabels } = loaded.native.facts();
    if (numLabels > 0 && files.id2label !== undefined && files.id2label.length !== numLabels) {
      await loaded.native.close();
      throw ElasticError.of('ELASTICLM_CONFIG_INVALID', {
        expected: `${numLabels} labels, one for each row of the classifier`,
        subject: `id2label in ${folder}/config.json`,
        received: `${files.id2label.length} labels`,
      });
    }
    return new ElasticModel({
      directory: folder,
      config,
      levels,
      checkpoint: { ...files, numLabels },
      ...loaded,
    });
  }

  get closed(): boolean {
    return this.#native.closed;
  }

  /** What really runs, and the memory it takes. @throws ELASTICLM_MODEL_CLOSED */
  info(): ModelInfo {
    const facts = this.#native.facts();
    return {
      ...facts,
      ...(this.#backendReason === undefined ? {} : { backendReason: this.#backendReason }),
      mappedBytes: facts.backend === 'cpu' ? this.checkpoint.fileBytes : 0,
      arenaBytes: this.#native.arenaBytes(),
      version: packageVersion(),
    };
  }

  /**
   * Runs a packed batch. Its arrays may be changed as soon as this has returned its promise.
   * @throws ELASTICLM_BATCH_INVALID, ELASTICLM_LEVEL_UNKNOWN, ELASTICLM_STRUCTURE_INVALID, ELASTICLM_ARGUMENT_INVALID,
   * ELASTICLM_CONFIG_INVALID (no pooler, no classifier), ELASTICLM_CALL_ABORTED, ELASTICLM_MODEL_CLOSED,
   * ELASTICLM_MEMORY_EXHAUSTED, ELASTICLM_DEVICE_MEMORY_EXHAUSTED, ELASTICLM_DEVICE_FAILED
   */
  async forward(batch: PackedBatch, options: ForwardOptions): Promise<ForwardResult> {
    const given: unknown = options;
    if (typeof given !== 'object' || given === null) {
      throw badArgument(
        'options',
        "an object that names at least an output, such as { output: 'pooled' }",
        given,
      );
    }
    const own = checkBatch(batch, this.config);
    const { structureIdx, structures, levels } = this.#choose(own, options);
    const { rows, dims } = this.#outputShape(own, options);
    const data = allocateFloats(rows * dims);
    const pooled = options.output === 'pooled';
    await this.#native.forward(
      {
        batch: own,
        structureIdx,
        ...(structures === undefined ? {} : { structures }),
        output: options.output,
        pooling: options.pooling ?? this.checkpoint.pooling ?? 'mean',
        normalize: pooled && (options.normalize ?? this.checkpoint.normalize ?? false),
        out: data,
      },
      options.signal,
    );
    return { data, dims, levels };
  }

  /** The steps that a forward of `batch` would run, for people to read. */
  plan(batch: PackedBatch, options: Pick<ForwardOptions, 'level' | 'structure'> = {}): string {
    const own = checkBatch(batch, this.config);
    const { structureIdx, structures } = this.#choose(own, options);
    const { cuSeqlens } = own;
    return this.#native.plan({
      cuSeqlens,
      structureIdx,
      ...(structures === undefined ? {} : { structures }),
    });
  }

  /**
   * The whole model's activations over one batch, for importance. Add several batches' sums up in order.
   * @throws ELASTICLM_BATCH_INVALID, ELASTICLM_CALL_ABORTED, ELASTICLM_MODEL_CLOSED, ELASTICLM_PRECISION_UNSUPPORTED (a
   * model in 'bf16' or 'i8', whose activations are rounded), ELASTICLM_BACKEND_UNAVAILABLE (backend 'cuda', which does not
   * measure them)
   */
  async calibrate(batch: PackedBatch, options: { signal?: AbortSignal } = {}): Promise<ActivationSums> {
    return this.#native.calibrate(checkBatch(batch, this.config), options.signal);
  }

  #choose(batch: PackedBatch, options: Pick<ForwardOptions, 'level' | 'structure'>): ChosenStructures {
    const { level, structure } = options;
    const numSequences = batch.cuSeqlens.length - 1;
    if (structure === undefined) return this.#levelTable.choose(level, numSequences);
    if (level !== undefined) {
      throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
        expected: 'either a level or a structure',
        subject: 'options',
        received: 'both',
      });
    }
    checkStructure(structure, this.config);
    return {
      structureIdx: new Int32Array(numSequences),
      structures: [structure],
      levels: Array<undefined>(numSequences).fill(undefined),
    };
  }

  #outputShape(batch: PackedBatch, options: ForwardOptions): { rows: number; dims: number } {
    const { output } = options;
    const { pooling, normalize }: { pooling?: unknown; normalize?: unknown } = options;
    if (pooling !== undefined && pooling !== 'cls' && pooling !== 'mean') {
      throw badArgument('options.pooling', "'cls' or 'mean'", pooling);
    }
    if (normalize !== undefined && typeof normalize !== 'boolean') {
      throw badArgument('options.normalize', 'true or false', normalize);
    }
    if (output !== 'pooled' && (pooling !== undefined || normalize === true)) {
      throw badArgument('options.output', "'pooled', which pooling and normalize are for", output);
    }
    const numSequences = batch.cuSeqlens.length - 1;
    switch (output) {
      case 'hidden':
        return { rows: batch.inputIds.length, dims: this.config.hiddenSize };
      case 'pooled':
      case 'pooler':
        return { rows: numSequences, dims: this.config.hiddenSize };
      case 'logits':
        return { rows: numSequences, dims: this.checkpoint.numLabels };
      default:
        throw badArgument('options.output', "'hidden', 'pooled', 'pooler' or 'logits'", output);
    }
  }

  /** Waits for the work in flight, then frees weights and threads. Every call returns the same promise. */
  close(): Promise<void> {
    return this.#native.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function levelsOf(config: EncoderConfig, { elastic }: Pick<CheckpointFiles, 'elastic'>): Level[] {
  const whole = {
    level: 1,
    heads: Array<number>(config.numLayers).fill(config.numHeads),
    neurons: Array<number>(config.numLayers).fill(config.intermediateSize),
  };
  const levels = elastic?.levels ?? [whole];
  return levels.map((level) => ({ ...level, computeFraction: computeFraction(config, level) }));
}

function badArgument(subject: string, expected: string, value: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', { expected, subject, received: describeValue(value) });
}
