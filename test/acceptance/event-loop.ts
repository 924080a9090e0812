/** How long the event loop is held while the library works, beside how long it is held when nothing happens. */
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { ElasticDenser, ElasticModel, packBatch, train } from '../../lib/index.js';
import { readCheckpoint } from '../../lib/model/index.js';
import { defaultModelDirectory } from '../support/default-model.js';
import { RandomData } from '../support/train-data.js';
import { documentTexts } from './support/data.js';
import { elasticDefaultModel } from './support/elastic-checkpoint.js';
import { storeResult } from './support/result.js';

const calibrationExamples = 64;
/** Above the idle loop's own longest gap. */
const allowedMs = 5;
const repetitions = 5;
/** How many repetitions to add, at most, while the bar is missed: another process may have taken the processor. */
const maxRepetitions = 15;

interface Gaps {
  task: string;
  /** longest gap of each repetition, in order; a gap holds the 1 ms between two ticks of the monitor */
  idleMs: number[];
  busyMs: number[];
  bestIdleMs: number;
  bestBusyMs: number;
  aboveIdleMs: number;
}

/** Longest time between two turns of the loop while `work` runs, as Node's own monitor measures it. */
async function longestGapMs(work: () => Promise<unknown>): Promise<{ gapMs: number; elapsedMs: number }> {
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  monitor.enable();
  await sleep(10); // the first tick of the monitor is not measured
  monitor.reset();
  const start = performance.now();
  await work();
  const elapsedMs = performance.now() - start;
  await sleep(10); // a gap is recorded by the tick that ends it
  monitor.disable();
  return { gapMs: monitor.max / 1e6, elapsedMs };
}

/**
 * Work and idling in turns, the idle ones as long as the work beside them. On a machine that others use too, a gap may be
 * theirs: the best repetition of both is what this process can be held to.
 */
async function measure(task: string, work: () => Promise<unknown>): Promise<Gaps> {
  await work(); // compiled, mapped and warmed up
  const idleMs: number[] = [];
  const busyMs: number[] = [];
  const gaps = (): Gaps => {
    const bestIdleMs = Math.min(...idleMs);
    const bestBusyMs = Math.min(...busyMs);
    return { task, idleMs, busyMs, bestIdleMs, bestBusyMs, aboveIdleMs: bestBusyMs - bestIdleMs };
  };
  while (busyMs.length < repetitions || (busyMs.length < maxRepetitions && gaps().aboveIdleMs >= allowedMs)) {
    const busy = await longestGapMs(work);
    busyMs.push(busy.gapMs);
    idleMs.push((await longestGapMs(() => sleep(busy.elapsedMs))).gapMs);
  }
  return gaps();
}

describe('the event loop', () => {
  const measured: Gaps[] = [];

  async function check(task: string, work: () => Promise<unknown>): Promise<void> {
    const gaps = await measure(task, work);
    measured.push(gaps);
    expect(gaps.aboveIdleMs, JSON.stringify(gaps)).toBeLessThan(allowedMs);
  }

  it('runs on while forwards of 32x128 tokens run', async () => {
    await using model = await ElasticModel.load(defaultModelDirectory());
    const batch = packBatch(
      Array.from({ length: 32 }, (_, s) => ({
        inputIds: Int32Array.from(
          { length: 128 },
          (__, i) => (1009 * (s + 1) + 7919 * i) % model.config.vocabSize,
        ),
        tokenTypeIds: new Int32Array(128),
      })),
    );
    await check('3 forwards of 32x128 tokens', async () => {
      for (let i = 0; i < 3; ++i) await model.forward(batch, { output: 'pooled' });
    });
  });

  it('runs on while encode() tokenises and computes 2,000 long texts', async () => {
    await using checkpoint = await elasticDefaultModel(calibrationExamples);
    await using denser = await ElasticDenser.load(checkpoint.directory);
    const texts = await documentTexts('scifact', 2000);
    await check('encode() of 2,000 SciFact abstracts at level 0.1', () =>
      denser.encode(texts, { level: 0.1 }),
    );
  });

  it('runs on while a model loads', async () => {
    await check('load() and close() of the default model', async () => {
      const model = await ElasticModel.load(defaultModelDirectory());
      await model.close();
    });
  });

  it('runs on while a training takes its steps and writes its state', async () => {
    await using checkpoint = await elasticDefaultModel(calibrationExamples);
    const { config } = await readCheckpoint(checkpoint.directory);
    const data = new RandomData({ config, size: 4000, lengths: [16, 256] });
    let runs = 0;
    await check('train() of the default model at four levels, 4 steps of 2,048 tokens', () =>
      train({
        student: checkpoint.directory,
        teacher: checkpoint.directory,
        output: path.join(checkpoint.directory, `run-${runs++}`),
        data,
        objective: { embedding: { cosineWeight: 1 } },
        learningRate: 1e-5,
        steps: 4,
        checkpointEverySteps: 2,
      }),
    );
  });

  // Also when a bar is missed: the record then shows by how much.
  afterAll(() => {
    const method =
      'perf_hooks.monitorEventLoopDelay, resolution 1 ms; best repetition, idle and busy in turns';
    storeResult('event-loop', { method, allowedMs, tasks: measured });
  });
});
