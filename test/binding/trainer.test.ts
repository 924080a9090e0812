import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NativeTrainer, type NativeStep } from '../../lib/binding/index.js';
import { ElasticModel } from '../../lib/model/index.js';
import { randomBatch } from '../support/batches.js';
import { configOf } from '../support/checkpoint.js';
import { expectRejection, expectCode } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { inFolder, trainerSpec, writeTinyStudent } from '../support/tiny-training.js';

const update = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
  clipNorm: 1,
};

function stepOf(seed: number, changes: Partial<NativeStep> = {}): NativeStep {
  return {
    batch: { batch: randomBatch(configOf(), [9, 3, 17, 1], new Random(seed)) },
    objective: { embedding: { cosineWeight: 1 } },
    structureIdx: [0, 1, 2],
    weights: [0.5, 0.25, 0.25],
    mode: 'mixed',
    ...changes,
  };
}

describe('NativeTrainer', () => {
  it('lowers the losses of the smaller SubLMs, and writes what it has learnt', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      await using trainer = await NativeTrainer.load(trainerSpec(student));
      const first = await trainer.step(stepOf(1));
      expect(first).toHaveLength(3);
      expect(first[0]!.total).toBeLessThan(1e-6); // the student is its own teacher
      expect(first[2]!.total).toBeGreaterThan(0.1);
      expect(first[2]!.total).toBe(first[2]!.embedding);
      expect(first[2]!.mlm).toBe(0);
      let last = first;
      for (let i = 0; i < 20; ++i) {
        expect(await trainer.update(update)).toBeGreaterThan(0);
        last = await trainer.step(stepOf(1));
      }
      expect(last[2]!.total).toBeLessThan(first[2]!.total / 2);
      expect(trainer.numUpdates).toBe(20);
      expect(trainer.bytes).toBeGreaterThan(0);

      await trainer.writeCheckpoint(student.files[0]!, 'f32');
      await using model = await ElasticModel.load(student.directory);
      const { batch } = stepOf(1).batch;
      const options = { output: 'pooled', pooling: 'mean', normalize: true } as const;
      const full = await model.forward(batch, { ...options, level: 1 });
      expect(full.data.every((value) => Number.isFinite(value))).toBe(true);
    });
  });

  it('runs calls in the order in which they were made', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      const oneByOne = join(folder, 'one.safetensors');
      const allAtOnce = join(folder, 'all.safetensors');
      await using first = await NativeTrainer.load(trainerSpec(student, { threads: 1 }));
      for (let seed = 0; seed < 5; ++seed) {
        await first.step(stepOf(seed));
        await first.update(update);
      }
      await first.writeState(oneByOne, 'words');
      await using second = await NativeTrainer.load(trainerSpec(student, { threads: 3 }));
      const calls: Promise<unknown>[] = [];
      for (let seed = 0; seed < 5; ++seed) {
        calls.push(second.step(stepOf(seed)), second.update(update));
      }
      calls.push(second.writeState(allAtOnce, 'words'));
      await Promise.all(calls);
      expect(readFileSync(allAtOnce).equals(readFileSync(oneByOne))).toBe(true);
    });
  });

  it('goes back to a state with the words it was written with', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      const path = join(folder, 'state.safetensors');
      await using trainer = await NativeTrainer.load(trainerSpec(student));
      await trainer.step(stepOf(1));
      await trainer.update(update);
      const words = JSON.stringify({ step: 1, text: 'é "quoted" \\ 😀' });
      await trainer.writeState(path, words);
      await trainer.step(stepOf(2));
      await trainer.update(update);
      expect(await trainer.readState(path)).toBe(words);
      expect(trainer.numUpdates).toBe(1);

      writeFileSync(path, readFileSync(path).subarray(0, 1000));
      await expectRejection(trainer.readState(path), 'ELASTICLM_CHECKPOINT_INVALID', /state\.safetensors/);
      await expectRejection(trainer.readState(join(folder, 'none')), 'ELASTICLM_FILE_NOT_FOUND');
      expect(trainer.numUpdates).toBe(1);
      const nowhere = join(folder, 'nowhere', 'state.safetensors');
      await expectRejection(trainer.writeState(nowhere, words), 'ELASTICLM_FILE_UNWRITABLE');
      await expectRejection(trainer.writeCheckpoint(nowhere, 'f16'), 'ELASTICLM_FILE_UNWRITABLE');
      expect(existsSync(join(folder, 'nowhere'))).toBe(false);
    });
  });

  it('gives mask gradients of the whole model and leaves gradients as they were', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      const spec = { ...stepOf(3), objective: { contrastive: { weight: 1, temperature: 0.1 } } };
      const batch = { ...spec.batch, numQueries: 2 };
      await using trainer = await NativeTrainer.load(trainerSpec(student, { teacherPaths: [] }));
      const { heads, neurons } = await trainer.maskGradients(batch, spec.objective);
      expect(heads).toHaveLength(student.config.numLayers * student.config.numHeads);
      expect(neurons).toHaveLength(student.config.numLayers * student.config.intermediateSize);
      expect([...heads, ...neurons].every((value) => Number.isFinite(value))).toBe(true);
      expect(heads.every((value) => value !== 0)).toBe(true);
      expect(await trainer.update(update)).toBe(0);
    });
  });

  it('refuses what does not fit with a code, and goes on', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      await using trainer = await NativeTrainer.load(trainerSpec(student, { teacherPaths: [] }));
      const good = stepOf(1, { objective: { contrastive: { weight: 1 } } });
      good.batch.numQueries = 2;
      await expectRejection(trainer.step(stepOf(1)), 'ELASTICLM_CONFIG_INVALID', /teacher/);
      const { batch } = stepOf(1).batch;
      const inputIds = batch.inputIds.with(3, student.config.vocabSize);
      await expectRejection(
        trainer.step({ ...good, batch: { ...good.batch, batch: { ...batch, inputIds } } }),
        'ELASTICLM_BATCH_INVALID',
        new RegExp(String(student.config.vocabSize)),
      );
      await expectRejection(trainer.step({ ...good, structureIdx: [0, 1, 3] }), 'ELASTICLM_BATCH_INVALID');
      await expectRejection(
        trainer.step({ ...good, batch: { ...good.batch, numQueries: 3 } }),
        'ELASTICLM_BATCH_INVALID',
      );
      const wrongType = { ...good.batch, labels: [1, 2] as unknown as Int32Array };
      await expectRejection(
        trainer.step({ ...good, batch: wrongType }),
        'ELASTICLM_BATCH_INVALID',
        /an Int32Array for labels/,
      );
      expect(await trainer.step(good)).toHaveLength(3);
      await expectRejection(
        NativeTrainer.load(
          trainerSpec(student, { structures: trainerSpec(student).structures.toReversed() }),
        ),
        'ELASTICLM_STRUCTURE_INVALID',
      );
      await expectRejection(
        NativeTrainer.load(trainerSpec(student, { teacherPaths: [join(folder, 'none')] })),
        'ELASTICLM_FILE_NOT_FOUND',
      );
    });
  });

  it('aborts a step that runs and one that waits, with gradients of 0', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      await using trainer = await NativeTrainer.load(trainerSpec(student));
      const controller = new AbortController();
      const steps = [1, 2, 3].map((seed) => trainer.step(stepOf(seed), controller.signal));
      controller.abort();
      await Promise.all(steps.map((step) => expectRejection(step, 'ELASTICLM_CALL_ABORTED')));
      await trainer.step(stepOf(1));
      expect(await trainer.update(update)).toBeGreaterThan(0);
      await expectRejection(trainer.step(stepOf(1), AbortSignal.abort()), 'ELASTICLM_CALL_ABORTED');
      expect(await trainer.update(update)).toBe(0);
    });
  });

  it('closes once, after the calls in flight, and refuses every use afterwards', async () => {
    await inFolder(async (folder) => {
      const student = writeTinyStudent(join(folder, 'student'));
      const trainer = await NativeTrainer.load(trainerSpec(student));
      const steps = [1, 2, 3].map((seed) => trainer.step(stepOf(seed)));
      const closing = trainer.close();
      expect(trainer.close()).toBe(closing);
      expect(trainer.closed).toBe(true);
      for (const losses of await Promise.all(steps)) expect(losses).toHaveLength(3);
      await closing;
      const path = join(folder, 'state.safetensors');
      const uses: (() => Promise<unknown>)[] = [
        () => trainer.step(stepOf(1)),
        () => trainer.maskGradients(stepOf(1).batch, stepOf(1).objective),
        () => trainer.update(update),
        () => trainer.writeCheckpoint(path, 'f32'),
        () => trainer.writeState(path, ''),
        () => trainer.readState(path),
      ];
      for (const use of uses) await expectRejection(use(), 'ELASTICLM_TRAINER_CLOSED');
      expectCode(() => trainer.numUpdates, 'ELASTICLM_TRAINER_CLOSED');
      expectCode(() => trainer.bytes, 'ELASTICLM_TRAINER_CLOSED');
      expect(existsSync(path)).toBe(false);
    });
  });
});
