/** A training of the default model, killed at ten random moments, ends with the weights of one that nobody disturbed. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { TrainOptions } from '../../lib/index.js';
import { outcomeOf, runTinyTraining, type ProgramEvent } from '../support/killed-runs.js';
import { Random } from '../support/random.js';
import { acceptanceLevels, elasticDefaultModel } from './support/elastic-checkpoint.js';
import { storeResult } from './support/result.js';

const calibrationExamples = 64;
const kills = 10;
const options: Partial<TrainOptions> = {
  steps: 24,
  checkpointEverySteps: 2,
  tokensPerMicroBatch: 512,
  microBatchesPerStep: 2,
};

/** How far a run had come when it was killed. */
function progressOf(events: readonly ProgramEvent[]): { events: number; lastStep: number } {
  const steps = events.map((event) => (event.type === 'step' || event.type === 'start' ? event.step : 0));
  return { events: events.length, lastStep: Math.max(0, ...steps) };
}

describe('a training of the default model that is killed', () => {
  it('at ten random moments, of loading, steps and writing alike, ends with the same bits', async () => {
    await using checkpoint = await elasticDefaultModel(calibrationExamples);
    const { directory } = checkpoint;
    const changes = { ...options, student: directory, teacher: directory };
    const [whole, killed] = [path.join(directory, 'whole'), path.join(directory, 'killed')];
    const beginMs = performance.now();
    const undisturbed = await runTinyTraining({ folder: whole, changes });
    const wholeMs = performance.now() - beginMs;
    expect(undisturbed.events.at(-1)).toMatchObject({ type: 'result', step: options.steps });

    const random = new Random(Date.now());
    const moments: { delayMs: number; events: number; lastStep: number }[] = [];
    while (moments.length < kills) {
      const delayMs = random.uniform() * wholeMs * 0.3;
      const { signal, events } = await runTinyTraining({ folder: killed, changes, delayMs });
      if (signal === 'SIGKILL') moments.push({ delayMs: Math.round(delayMs), ...progressOf(events) });
      else rmSync(killed, { recursive: true }); // it had come to its end: the next one begins anew
    }
    const { events } = await runTinyTraining({ folder: killed, changes });
    expect(events.at(-1)).toMatchObject({ type: 'result', step: options.steps });
    const [expected, actual] = [outcomeOf(whole), outcomeOf(killed)];
    expect(actual.weights.equals(expected.weights)).toBe(true);
    expect(actual.log).toEqual(expected.log);
    storeResult('resume', {
      levels: acceptanceLevels,
      ...options,
      moments,
      sameWeights: true,
      sameLog: true,
    });
  });
});
