/** Elastic optimisation: every update traverses the SubLMs of a student, which learn together in shared weights. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NativeTrainer, resolveIsa, resolveThreads, type TrainPrecision } from '../binding/index.js';
import { describeValue, ElasticError, throwIfAborted } from '../errors.js';
import { writing } from '../structure/index.js';
import type { TrainEvent } from './events.js';
import { checkOptions, type Metrics, type TrainOptions, type TrainSettings } from './options.js';
import { checkSameFacts, runFacts } from './run-facts.js';
import { RunFolder, RunLog } from './run-folder.js';
import { parseState, serialiseState, type RunState } from './run-state.js';
import { Sampler } from './sampler.js';
import { StepRunner, type StepPlan } from './step-runner.js';
import { readSubject, type Subject } from './subject.js';
import { makeTrainedModel, weightsName } from './trained-model.js';

/** Why a run has ended. 'time' alone leaves it unfinished: the same call goes on. */
export type EndReason = 'steps' | 'early-stop' | 'time';

export interface TrainResult {
  reason: EndReason;
  /** updates done */
  step: number;
  /** folder of the checkpoint; absent where the run is unfinished */
  model?: string;
  /** of the weights in it, and the update that they come from, where they were evaluated */
  metrics?: Metrics;
  bestStep?: number;
}

/** Share of all updates over which the learning rate rises, by default. */
const warmupShare = 0.06;

/**
 * Trains the SubLMs of a checkpoint together, and writes the result as a checkpoint: docs/training.md. Interrupted in any way
 * (kill -9 included), the same call goes on from the last state, with the same result to the bit on the same instruction set.
 * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_DATA_INVALID, ELASTICLM_LEVEL_UNKNOWN; ELASTICLM_BATCH_INVALID for what `data`
 * gives; ELASTICLM_CONFIG_INVALID, ELASTICLM_TOKENIZER_INVALID for a teacher of another kind; ELASTICLM_TRAINING_STATE_MISMATCH
 * for a state of other options; ELASTICLM_TRAINING_DIVERGED; ELASTICLM_FILE_UNWRITABLE and ELASTICLM_CALL_ABORTED, after which
 * the run can go on; and what reading a checkpoint throws
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const beginMs = performance.now();
  const settings = checkOptions(options);
  throwIfAborted(settings.signal);
  const folder = await RunFolder.open(settings.output, settings.resume);
  const subject = await readSubject(settings);
  const { data, seed, tokensPerMicroBatch } = settings;
  const sampler = new Sampler({
    size: data.size,
    length: (position) => data.length(position),
    seed,
    tokensPerMicroBatch,
  });
  const plan = await planSteps(settings, sampler);
  const isa = resolveIsa();
  const precision = choosePrecision(settings.precision, isa);
  const facts = await runFacts(settings, subject, { ...plan, precision });
  const threads = resolveThreads(settings.threads);
  await using native = await NativeTrainer.load({
    config: subject.student.config,
    paths: subject.student.files,
    teacherPaths: subject.teacher?.files ?? [],
    structures: subject.levels,
    adapterIdx: Int32Array.from(subject.levels, ({ adapter = -1 }) => adapter),
    heads: subject.heads,
    seed,
    isa,
    precision,
    recompute: settings.recompute,
    threads,
  });
  const state = (await folder.hasState())
    ? parseState(await native.readState(folder.statePath), folder.statePath)
    : newState(facts);
  checkSameFacts(state.facts, facts, folder.statePath);
  checkUpdates(state, native, folder);
  const log = await RunLog.open(folder.logPath, state.logLength);
  try {
    const steps = new StepRunner({ settings, subject, sampler, native, plan });
    const run = new Run({ settings, subject, folder, log, native, steps, state, beginMs });
    run.tell({
      type: 'start',
      step: state.step,
      steps: plan.steps,
      levels: subject.levels.map(({ level }) => level),
      isa,
      precision,
      threads,
      bytes: native.bytes,
    });
    return await run.toItsEnd();
  } finally {
    await log.close();
  }
}

async function planSteps(settings: TrainSettings, sampler: Sampler): Promise<StepPlan> {
  const { epochs = 1, microBatchesPerStep } = settings;
  // Epochs differ by a few micro-batches: the first one's number counts for all.
  const steps =
    settings.steps ?? Math.ceil((epochs * (await sampler.countMicroBatches(0))) / microBatchesPerStep);
  return { steps, warmupSteps: Math.min(settings.warmupSteps ?? Math.round(warmupShare * steps), steps) };
}

/** 'auto': bf16 where one instruction multiplies it, twice as fast as f32. */
function choosePrecision(precision: TrainSettings['precision'], isa: string): TrainPrecision {
  if (precision !== 'auto') return precision;
  return isa === 'avx512bf16' ? 'bf16' : 'f32';
}

function newState(facts: RunState['facts']): RunState {
  return {
    step: 0,
    position: { epoch: 0, cursor: 0 },
    facts,
    logLength: 0,
    chosen: undefined,
    stale: 0,
    stoppedEarly: false,
  };
}

/** Both halves of a state file must speak of the same moment. */
function checkUpdates(state: RunState, native: NativeTrainer, folder: RunFolder): void {
  if (state.step === native.numUpdates) return;
  throw ElasticError.of('ELASTICLM_CHECKPOINT_INVALID', {
    expected: `${native.numUpdates} updates, as the optimiser has done,`,
    subject: `the step in the metadata of ${folder.statePath}`,
    received: String(state.step),
  });
}

interface RunParts {
  settings: TrainSettings;
  subject: Subject;
  folder: RunFolder;
  log: RunLog;
  native: NativeTrainer;
  steps: StepRunner;
  state: RunState;
  /** when the call began, on performance.now()'s clock */
  beginMs: number;
}

class Run {
  readonly #parts: RunParts;
  readonly #state: RunState;
  /** update that the call begins after */
  readonly #beginStep: number;
  /** update of the state on disk */
  #savedStep: number;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#state = parts.state;
    this.#beginStep = parts.state.step;
    this.#savedStep = parts.state.step;
  }

  tell(event: TrainEvent): void {
    this.#parts.settings.onEvent?.(event);
  }

  async toItsEnd(): Promise<TrainResult> {
    try {
      return await this.#train();
    } catch (error) {
      // The weights are those of the last whole update: nothing of the run needs to be lost.
      const wasAborted = error instanceof ElasticError && error.code === 'ELASTICLM_CALL_ABORTED';
      if (wasAborted && this.#savedStep !== this.#state.step) await this.#save();
      throw error;
    }
  }

  async #train(): Promise<TrainResult> {
    const state = this.#state;
    const { settings, steps } = this.#parts;
    while (state.step < steps.count && !state.stoppedEarly) {
      throwIfAborted(settings.signal);
      const { event, next } = await steps.run(state.step, state.position);
      state.step += 1;
      state.position = next;
      await this.#record(event);
      const isLast = state.step === steps.count;
      const isMeasured = await this.#evaluateIfDue(isLast);
      if (isMeasured || isLast || state.step % settings.checkpointEverySteps === 0) await this.#save();
      if (!isLast && this.#isOutOfTime()) {
        if (this.#savedStep !== state.step) await this.#save();
        return { reason: 'time', step: state.step };
      }
    }
    return this.#finish();
  }

  #isOutOfTime(): boolean {
    const { settings, beginMs } = this.#parts;
    return performance.now() - beginMs > (settings.maxMinutes ?? Infinity) * 60_000;
  }

  async #record(event: Exclude<TrainEvent, { type: 'start' | 'checkpoint' }>): Promise<void> {
    await this.#parts.log.write(event);
    this.tell(event);
  }

  /** The log first: what the state knows of it must be on disk before the state is. */
  async #save(): Promise<void> {
    const { log, native, folder } = this.#parts;
    await log.flush();
    this.#state.logLength = log.length;
    await native.writeState(folder.statePath, serialiseState(this.#state));
    this.#savedStep = this.#state.step;
    await folder.removeKept(this.#keptStep());
    this.tell({ type: 'checkpoint', step: this.#state.step });
  }

  /** The update whose weights are kept in a file of their own: where a metric chooses. */
  #keptStep(): number | undefined {
    return this.#parts.settings.best === undefined ? undefined : this.#state.chosen?.step;
  }

  /** Whether there was an evaluation, after which the state must be written: it decides what comes of the run. */
  async #evaluateIfDue(isLast: boolean): Promise<boolean> {
    const { settings, folder, native } = this.#parts;
    const { evaluate, evaluateEverySteps = Infinity, best } = settings;
    const state = this.#state;
    if (evaluate === undefined || !(isLast || state.step % evaluateEverySteps === 0)) return false;
    const model = await this.#makeModel((path) => native.writeCheckpoint(path, settings.dtype), undefined);
    try {
      const metrics = await evaluate(model.path);
      const isBest = best === undefined || isBetter(best, metrics, state.chosen?.metrics);
      if (isBest && best !== undefined) await folder.keep(join(model.path, weightsName), state.step);
      state.stale = isBest ? 0 : state.stale + 1;
      state.stoppedEarly = best?.patience !== undefined && state.stale >= best.patience;
      if (isBest) state.chosen = { step: state.step, metrics };
      await this.#record({ type: 'evaluation', step: state.step, metrics, isBest });
    } finally {
      await model.abandon();
    }
    return true;
  }

  #makeModel(writeWeights: (path: string) => Promise<void>, metrics: Metrics | undefined) {
    const { settings, subject, folder } = this.#parts;
    return makeTrainedModel(folder.modelPath, { settings, subject, writeWeights, metrics });
  }

  async #finish(): Promise<TrainResult> {
    const { folder, native, settings } = this.#parts;
    const { chosen, step, stoppedEarly } = this.#state;
    const keptStep = this.#keptStep();
    const wasFinished = this.#beginStep === step && (await folder.hasModel());
    if (!wasFinished) {
      const writeWeights = (path: string): Promise<void> =>
        keptStep === undefined
          ? native.writeCheckpoint(path, settings.dtype)
          : writing(path, () => copyFile(folder.keptPath(keptStep), path));
      const model = await this.#makeModel(writeWeights, chosen?.metrics);
      try {
        await model.commit();
      } finally {
        await model.abandon();
      }
    }
    return {
      reason: stoppedEarly ? 'early-stop' : 'steps',
      step,
      model: folder.modelPath,
      ...(chosen === undefined ? {} : { metrics: chosen.metrics, bestStep: chosen.step }),
    };
  }
}

/** Whether metrics beat those before, by the mean over the levels. */
function isBetter(
  best: NonNullable<TrainSettings['best']>,
  now: Metrics,
  before: Metrics | undefined,
): boolean {
  const value = meanOf(now, best.metric);
  if (before === undefined) return true;
  return best.goal === 'min' ? value < meanOf(before, best.metric) : value > meanOf(before, best.metric);
}

function meanOf(metrics: Metrics, name: string): number {
  const values = Object.values(metrics[name] ?? {});
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (Number.isFinite(mean)) return mean;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: `finite numbers for the metric ${describeValue(name)}, which chooses the weights`,
    subject: 'what options.evaluate gives',
    received: values.length === 0 ? `the metrics ${Object.keys(metrics).join(', ')}` : String(mean),
  });
}
