/** One update: its micro-batches, their losses, and what is told about it. */
import type { LevelLosses, NativeTrainer } from '../binding/index.js';
import { ElasticError } from '../errors.js';
import type { StepEvent, StepLosses } from './events.js';
import type { TrainSettings } from './options.js';
import type { MicroBatch, Sampler } from './sampler.js';
import { learningRateAt, sampleLevels, shareWeights } from './schedule.js';
import type { Subject } from './subject.js';
import type { DataPosition, LossName, TrainBatch } from './types.js';

export interface StepPlan {
  /** updates of the whole run */
  steps: number;
  warmupSteps: number;
}

export interface StepRunnerParts {
  settings: TrainSettings;
  subject: Subject;
  sampler: Sampler;
  native: NativeTrainer;
  plan: StepPlan;
}

export interface StepResult {
  event: StepEvent;
  /** where the next update begins */
  next: DataPosition;
}

/** Weight of the newest step in the running mean of seconds per step, which tells the time left. */
const newestShare = 0.05;

interface Upcoming {
  microBatch: MicroBatch;
  batch: Promise<TrainBatch>;
}

export class StepRunner {
  readonly #parts: StepRunnerParts;
  readonly #terms: readonly LossName[];
  #upcoming: (Upcoming & { position: DataPosition }) | undefined;
  #secondsPerStep: number | undefined;

  constructor(parts: StepRunnerParts) {
    this.#parts = parts;
    this.#terms = Object.keys(parts.settings.objective).filter((name) => name !== 'pooling') as LossName[];
  }

  /** Updates of the whole run. */
  get count(): number {
    return this.#parts.plan.steps;
  }

  /** Update `step` (from 0), which begins at `position` of the data. */
  async run(step: number, position: DataPosition): Promise<StepResult> {
    const beginMs = performance.now();
    const { settings, subject, native, plan } = this.#parts;
    const { microBatchesPerStep, levelSampling, seed, mode, objective, signal } = settings;
    const levels = sampleLevels(levelSampling, subject.levels.length, seed, step);
    // A micro-batch's losses are means, so each counts as one part of the step.
    const weights = shareWeights(levels, subject.levelWeights).map((weight) => weight / microBatchesPerStep);
    const sums = levels.map(() => new Map<string, number>());
    let next = position;
    let tokens = 0;
    for (let part = 0; part < microBatchesPerStep; ++part) {
      const { microBatch, batch: promised } = this.#take(next);
      const batch = await promised;
      next = microBatch.next;
      tokens += batch.batch.inputIds.length;
      const isRunsLast = part + 1 === microBatchesPerStep && step + 1 === plan.steps;
      if (!isRunsLast) this.#prepare(next);
      const numSequences = sequencesSeen(batch, levels, subject.levelShares);
      const request = { batch, objective, structureIdx: levels, weights, numSequences, mode };
      for (const [idx, losses] of (await native.step(request, signal)).entries()) {
        this.#add(losses, sums[idx]!, { step: step + 1, level: this.#levelAt(levels[idx]!) });
      }
    }
    const learningRate = learningRateAt(step, { learningRate: settings.learningRate, ...plan });
    const gradientNorm = await this.#update(step, learningRate);
    const seconds = (performance.now() - beginMs) / 1000;
    const mean = (this.#secondsPerStep ??= seconds);
    this.#secondsPerStep = mean + newestShare * (seconds - mean);
    return {
      next,
      event: {
        type: 'step',
        step: step + 1,
        epoch: position.epoch,
        losses: Object.fromEntries(
          levels.map((level, idx) => [this.#levelAt(level), this.#means(sums[idx]!)]),
        ),
        gradientNorm,
        learningRate,
        tokens,
        tokensPerSecond: tokens / seconds,
        secondsLeft: (plan.steps - step - 1) * this.#secondsPerStep,
      },
    };
  }

  #levelAt(position: number): string {
    return String(this.#parts.subject.levels[position]!.level);
  }

  /** The micro-batch at a position: prepared while the one before was computed, else now. */
  #take(position: DataPosition): Upcoming {
    const { epoch, cursor } = position;
    if (this.#upcoming?.position.epoch !== epoch || this.#upcoming.position.cursor !== cursor) {
      this.#prepare(position);
    }
    const taken = this.#upcoming!;
    this.#upcoming = undefined;
    return taken;
  }

  #prepare(position: DataPosition): void {
    const { sampler, settings } = this.#parts;
    const microBatch = sampler.microBatchAt(position);
    const batch = settings.data.batch(microBatch.positions, microBatch.seed);
    // Whoever takes it sees its failure; until then it is nobody's.
    batch.catch(() => undefined);
    this.#upcoming = { position, microBatch, batch };
  }

  #add(losses: LevelLosses, sums: Map<string, number>, at: { step: number; level: string }): void {
    for (const name of [...this.#terms, 'total'] as const) {
      const value = losses[name];
      if (!Number.isFinite(value)) throw diverged(`the loss '${name}' of level ${at.level}`, at.step, value);
      sums.set(name, (sums.get(name) ?? 0) + value);
    }
  }

  #means(sums: ReadonlyMap<string, number>): StepLosses {
    const { microBatchesPerStep } = this.#parts.settings;
    const means = ['total', ...this.#terms].map((name) => [name, sums.get(name)! / microBatchesPerStep]);
    return Object.fromEntries(means) as StepLosses;
  }

  async #update(step: number, learningRate: number): Promise<number> {
    const { settings, native } = this.#parts;
    const [beta1, beta2] = settings.betas;
    const norm = await native.update({
      learningRate,
      beta1,
      beta2,
      epsilon: settings.epsilon,
      weightDecay: settings.weightDecay,
      clipNorm: settings.clipNorm,
    });
    if (!Number.isFinite(norm)) throw diverged("the gradient's norm over all levels", step + 1, norm);
    return norm;
  }
}

/** How many of a micro-batch's sequences each level sees; undefined: all see all. */
function sequencesSeen(
  { batch }: TrainBatch,
  levels: readonly number[],
  shares: readonly number[],
): number[] | undefined {
  if (levels.every((level) => shares[level] === 1)) return undefined;
  const total = batch.cuSeqlens.length - 1;
  return levels.map((level) => Math.max(1, Math.round(shares[level]! * total)));
}

function diverged(subject: string, step: number, received: number): ElasticError {
  return ElasticError.of('ELASTICLM_TRAINING_DIVERGED', {
    expected: 'a finite number',
    subject: `${subject} at step ${step}`,
    received: String(received),
    remedy:
      'Begin anew with a lower learningRate or a longer warm-up, or with precision f32; the last state is still there',
  });
}
