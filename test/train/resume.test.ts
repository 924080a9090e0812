import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { TrainOptions } from '../../lib/train/index.js';
import { outcomeOf, runTinyTraining } from '../support/killed-runs.js';
import { Random } from '../support/random.js';
import { inFolder, writeTinyStudent } from '../support/tiny-training.js';

const timeoutMs = 120_000;
const changes: Partial<TrainOptions> = {
  steps: 40,
  checkpointEverySteps: 3,
  microBatchesPerStep: 2,
  levelSampling: { sandwich: 0 },
};

describe('a training that is killed', () => {
  it(
    'goes on bit for bit, whenever it was',
    async () => {
      await inFolder(async (whole) => {
        await inFolder(async (folder) => {
          for (const place of [whole, folder]) writeTinyStudent(join(place, 'student'));
          await runTinyTraining({ folder: whole, changes });
          const random = new Random(1);
          const moments = [1, 3, 12, 30];
          for (const step of moments) {
            const { signal } = await runTinyTraining({
              folder,
              changes,
              killAt: (event) => event.type === 'step' && event.step >= step,
              delayMs: random.integer(0, 10),
            });
            expect(signal).toBe('SIGKILL');
          }
          const { events } = await runTinyTraining({ folder, changes });
          expect(events[0]).toMatchObject({ type: 'start' });
          expect((events[0] as { step: number }).step).toBeGreaterThanOrEqual(27);
          expect(events.at(-1)).toMatchObject({ type: 'result', reason: 'steps', step: 40 });
          const [expected, actual] = [outcomeOf(whole), outcomeOf(folder)];
          expect(actual.weights.equals(expected.weights)).toBe(true);
          expect(actual.log).toEqual(expected.log);
          // Nothing of the killed runs stays.
          expect(readdirSync(join(folder, 'run')).sort()).toEqual([
            'log.jsonl',
            'model',
            'state.safetensors',
          ]);
        });
      });
    },
    timeoutMs,
  );
});

describe('a training whose disk is full', () => {
  it(
    'says so, keeps its last state, and goes on when there is room',
    async () => {
      await inFolder(async (whole) => {
        await inFolder(async (folder) => {
          for (const place of [whole, folder]) writeTinyStudent(join(place, 'student'));
          await runTinyTraining({ folder: whole, changes });
          const stateKiB = statSync(join(whole, 'run', 'state.safetensors')).size >> 10;
          // No room for a state: the first checkpoint fails.
          const none = await runTinyTraining({ folder, changes, fileKiB: stateKiB >> 1 });
          expect(none.events.at(-1)).toMatchObject({ type: 'error', code: 'ELASTICLM_FILE_UNWRITABLE' });
          expect(existsSync(join(folder, 'run', 'state.safetensors'))).toBe(false);

          await runTinyTraining({
            folder,
            changes,
            killAt: (event) => event.type === 'checkpoint' && event.step === 6,
          });
          const before = readFileSync(join(folder, 'run', 'state.safetensors'));
          const full = await runTinyTraining({ folder, changes, fileKiB: stateKiB >> 1 });
          expect(full.events.at(-1)).toMatchObject({ type: 'error', code: 'ELASTICLM_FILE_UNWRITABLE' });
          expect(readFileSync(join(folder, 'run', 'state.safetensors')).equals(before)).toBe(true);
          expect(readdirSync(join(folder, 'run')).sort()).toEqual(['log.jsonl', 'state.safetensors']);

          await runTinyTraining({ folder, changes });
          const [expected, actual] = [outcomeOf(whole), outcomeOf(folder)];
          expect(actual.weights.equals(expected.weights)).toBe(true);
          expect(actual.log).toEqual(expected.log);
        });
      });
    },
    timeoutMs,
  );
});
