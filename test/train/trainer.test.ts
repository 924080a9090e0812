import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ElasticModel, readCheckpoint, serialiseElasticFile } from '../../lib/model/index.js';
import { train, type Metrics, type TrainBatch, type TrainEvent } from '../../lib/train/index.js';
import { randomBatch } from '../support/batches.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { tinyDistillation, inFolder, writeTinyStudent } from '../support/tiny-training.js';
import { RandomData } from '../support/train-data.js';

function stepsOf(events: readonly TrainEvent[]): Extract<TrainEvent, { type: 'step' }>[] {
  return events.filter((event) => event.type === 'step');
}

function logOf(folder: string): TrainEvent[] {
  const text = readFileSync(join(folder, 'run', 'log.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainEvent);
}

describe('train()', () => {
  it('makes every level more like the teacher, and leaves a checkpoint that loads', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'), { config: { note: 'kept' } });
      const events: TrainEvent[] = [];
      const options = tinyDistillation(folder, {
        steps: 60,
        microBatchesPerStep: 2,
        dtype: 'f16',
        onEvent: (event) => events.push(event),
      });
      const result = await train(options);
      expect(result).toEqual({ reason: 'steps', step: 60, model: join(folder, 'run', 'model') });
      expect(events[0]).toMatchObject({ type: 'start', step: 0, steps: 60, levels: [1, 0.5, 0.25] });
      const steps = stepsOf(events);
      expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 60 }, (_, idx) => idx + 1));
      for (const level of ['0.5', '0.25']) {
        const mean = (part: typeof steps): number =>
          part.reduce((sum, { losses }) => sum + losses[level]!.total, 0) / part.length;
        expect(mean(steps.slice(-10))).toBeLessThan(0.6 * mean(steps.slice(0, 10)));
      }
      for (const step of steps) {
        expect(step.losses['0.5']!.embedding).toBe(step.losses['0.5']!.total);
        expect(step.tokens).toBeLessThanOrEqual(256);
        expect(step.gradientNorm).toBeGreaterThan(0);
      }
      expect(steps.at(-1)!.secondsLeft).toBe(0);
      expect(logOf(folder)).toEqual(steps);

      await using model = await ElasticModel.load(result.model!);
      expect(model.levels.map(({ level }) => level)).toEqual([1, 0.5, 0.25]);
      expect(model.checkpoint).toMatchObject({ pooling: 'mean', normalize: true });
      const json = (name: string): unknown => JSON.parse(readFileSync(join(result.model!, name), 'utf8'));
      expect(json('config.json')).toMatchObject({ note: 'kept', architectures: ['BertModel'] });
      expect(readdirSync(result.model!)).toContain('tokenizer.json');
      expect(readdirSync(join(folder, 'run')).sort()).toEqual(['log.jsonl', 'model', 'state.safetensors']);
    });
  });

  it('gives the same weights for every number of threads, and goes through epochs', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      const weights: Buffer[] = [];
      for (const threads of [1, 2]) {
        const events: TrainEvent[] = [];
        const data = new RandomData({ config: configOf(), size: 64 });
        const output = join(folder, `run-${threads}`);
        const result = await train(
          tinyDistillation(folder, {
            output,
            data,
            threads,
            epochs: 2,
            onEvent: (event) => events.push(event),
          }),
        );
        weights.push(readFileSync(join(result.model!, 'model.safetensors')));
        expect(Math.max(...data.uses)).toBeLessThanOrEqual(3);
        expect(Math.min(...data.uses)).toBeGreaterThanOrEqual(1);
        expect(stepsOf(events).at(-1)!.epoch).toBe(1);
      }
      expect(weights[0]!.equals(weights[1]!)).toBe(true);
    });
  });

  it('trains an ordinary checkpoint as a classifier of named classes', async () => {
    await inFolder(async (folder) => {
      const { config } = writeTinyCheckpoint(join(folder, 'student'));
      const sequences = new RandomData({ config, size: 60 });
      const data = {
        size: sequences.size,
        length: (position: number) => sequences.length(position),
        batch: async (positions: readonly number[]): Promise<TrainBatch> => ({
          ...(await sequences.batch(positions)),
          labels: Int32Array.from(positions, (position) => position % 3),
        }),
      };
      const options = tinyDistillation(folder, {
        data,
        objective: { classification: { weight: 1 } },
        labels: ['red', 'green', 'blue'],
        learningRate: 5e-3,
        epochs: 25,
      });
      delete options.teacher;
      const events: TrainEvent[] = [];
      const result = await train({ ...options, onEvent: (event) => events.push(event) });
      const losses = stepsOf(events).map((event) => event.losses['1']!.classification!);
      expect(losses[0]).toBeGreaterThan(0.8);
      expect(losses.at(-1)).toBeLessThan(0.4); // learnt by heart
      await using model = await ElasticModel.load(result.model!);
      expect(model.checkpoint).toMatchObject({ numLabels: 3, id2label: ['red', 'green', 'blue'] });
      expect(existsSync(join(result.model!, 'elastic.json'))).toBe(false);
    });
  });

  it('trains chosen levels with weights of their own, some at each step', async () => {
    await inFolder(async (folder) => {
      const elastic = evenLevels(configOf(), [0.75, 0.5, 0.25]);
      writeTinyStudent(join(folder, 'student'), { elastic });
      const events: TrainEvent[] = [];
      const onEvent = (event: TrainEvent): number => events.push(event);
      await train(
        tinyDistillation(folder, {
          levels: [0.25, 0.75, 0.5],
          levelWeights: { '0.25': 3 },
          levelSampling: { sandwich: 0 },
          steps: 3,
          onEvent,
        }),
      );
      expect(events[0]).toMatchObject({ levels: [0.75, 0.5, 0.25] });
      for (const { losses } of stepsOf(events)) expect(Object.keys(losses).sort()).toEqual(['0.25', '0.75']);
      const left = JSON.parse(readFileSync(join(folder, 'run', 'model', 'elastic.json'), 'utf8')) as {
        levels: unknown[];
      };
      expect(left.levels).toHaveLength(4);
    });
  });

  it('trains adapters of the levels below 1, of which large ones see a part of the data', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      const events: TrainEvent[] = [];
      const options = tinyDistillation(folder, {
        adapters: true,
        levelShares: { '1': 0.25, '0.5': 0.5 },
        steps: 40,
        onEvent: (event) => events.push(event),
      });
      const { model: trained } = await train(options);
      const { elastic } = await readCheckpoint(trained!);
      expect(elastic?.levels.map(({ adapter }) => adapter)).toEqual([undefined, 0, 1]);

      // What they learned is served: without them, vectors are other ones.
      const bare = join(folder, 'bare');
      cpSync(trained!, bare, { recursive: true });
      const levels = elastic!.levels.map(({ level, heads, neurons }) => ({ level, heads, neurons }));
      writeFileSync(join(bare, 'elastic.json'), serialiseElasticFile({ ...elastic, levels }));
      const batch = randomBatch(configOf(), [5, 9], new Random(1));
      const vectorsOf = async (directory: string, level: number): Promise<Float32Array> => {
        await using model = await ElasticModel.load(directory);
        return (await model.forward(batch, { output: 'pooled', level })).data;
      };
      expect(await vectorsOf(trained!, 1)).toEqual(await vectorsOf(bare, 1));
      for (const level of [0.5, 0.25]) {
        expect(await vectorsOf(trained!, level)).not.toEqual(await vectorsOf(bare, level));
      }

      // A further training keeps them and trains on: its first loss is no worse than the last one was.
      const again: TrainEvent[] = [];
      await train({
        ...options,
        adapters: false,
        student: trained!,
        output: join(folder, 'again'),
        steps: 2,
        onEvent: (event) => again.push(event),
      });
      const lossOf = (list: TrainEvent[], at: number): number => stepsOf(list).at(at)!.losses['0.25']!.total;
      expect(lossOf(again, 0)).toBeLessThan(0.8 * lossOf(events, 0));
    });
  });

  it('keeps the best evaluated weights and stops when they do not improve', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      const values = [0.1, 0.5, 0.3, 0.4, 0.9];
      const weights: Buffer[] = [];
      const evaluate = async (path: string): Promise<Metrics> => {
        await using model = await ElasticModel.load(path);
        expect(model.levels).toHaveLength(3);
        weights.push(readFileSync(join(path, 'model.safetensors')));
        const value = values[weights.length - 1]!;
        return { 'toy/score': { '1': value + 0.1, '0.5': value, '0.25': value - 0.1 }, other: { '1': 1 } };
      };
      const events: TrainEvent[] = [];
      const result = await train(
        tinyDistillation(folder, {
          steps: 50,
          evaluate,
          evaluateEverySteps: 5,
          best: { metric: 'toy/score', patience: 2 },
          onEvent: (event) => events.push(event),
        }),
      );
      expect(result).toMatchObject({ reason: 'early-stop', step: 20, bestStep: 10 });
      expect(result.metrics!['toy/score']!['0.5']).toBe(0.5);
      const kept = readFileSync(join(result.model!, 'model.safetensors'));
      expect(kept.equals(weights[1]!)).toBe(true);
      expect(kept.equals(weights[3]!)).toBe(false);
      const evaluations = events.filter((event) => event.type === 'evaluation');
      expect(evaluations.map(({ step, isBest }) => [step, isBest])).toEqual([
        [5, true],
        [10, true],
        [15, false],
        [20, false],
      ]);
      expect(logOf(folder).filter(({ type }) => type === 'evaluation')).toEqual(evaluations);
      const elastic = JSON.parse(readFileSync(join(result.model!, 'elastic.json'), 'utf8')) as {
        quality: unknown;
      };
      expect(elastic.quality).toEqual([
        { task: 'toy', metric: 'score', by_level: { '1': 0.6, '0.5': 0.5, '0.25': 0.4 } },
        { task: 'training', metric: 'other', by_level: { '1': 1 } },
      ]);
      // Asked again, the run is finished.
      const again = await train(
        tinyDistillation(folder, {
          steps: 50,
          evaluate,
          evaluateEverySteps: 5,
          best: { metric: 'toy/score', patience: 2 },
        }),
      );
      expect(again).toEqual(result);
      expect(weights).toHaveLength(4);
    });
  });

  it('stops when its time is over, and goes on when called again', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      const whole = await train(tinyDistillation(folder, { output: join(folder, 'whole') }));
      let calls = 0;
      let result;
      do {
        result = await train(tinyDistillation(folder, { maxMinutes: 1e-9 }));
        calls += 1;
      } while (result.reason === 'time');
      expect(calls).toBe(30);
      expect(result).toMatchObject({ reason: 'steps', step: 30 });
      const weights = [whole, result].map(({ model }) => readFileSync(join(model!, 'model.safetensors')));
      expect(weights[0]!.equals(weights[1]!)).toBe(true);
      expect(logOf(folder).map((event) => (event as { step: number }).step)).toEqual(
        Array.from({ length: 30 }, (_, idx) => idx + 1),
      );
    });
  });

  it('writes its state when it is aborted, and goes on from there', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      const whole = await train(tinyDistillation(folder, { output: join(folder, 'whole') }));
      const controller = new AbortController();
      const aborted = train(
        tinyDistillation(folder, {
          signal: controller.signal,
          onEvent: (event) => {
            if (event.type === 'step' && event.step === 7) setTimeout(() => controller.abort('enough'), 1);
          },
        }),
      );
      await expectRejection(aborted, 'ELASTICLM_CALL_ABORTED');
      const events: TrainEvent[] = [];
      const result = await train(tinyDistillation(folder, { onEvent: (event) => events.push(event) }));
      expect((events[0] as { step: number }).step).toBeGreaterThanOrEqual(7);
      const weights = [whole, result].map(({ model }) => readFileSync(join(model!, 'model.safetensors')));
      expect(weights[0]!.equals(weights[1]!)).toBe(true);
    });
  });

  it('refuses a state of other options, naming the first that differs, and an output that is in use', async () => {
    await inFolder(async (folder) => {
      const { config } = writeTinyStudent(join(folder, 'student'));
      await train(tinyDistillation(folder, { maxMinutes: 1e-9 }));
      const code = 'ELASTICLM_TRAINING_STATE_MISMATCH';
      const otherData = new RandomData({ config, size: 200, seed: 2 });
      const cases: [Parameters<typeof tinyDistillation>[1], RegExp][] = [
        [{ learningRate: 2e-3 }, /expected learningRate 0\.001, .*received 0\.002/],
        [{ steps: 31 }, /expected steps 30/],
        [{ objective: { embedding: { cosineWeight: 1 } } }, /objective/],
        [{ levels: [1] }, /levels/],
        [{ data: otherData }, /expected data /],
        [{ facts: { files: 'abc' } }, /expected files nothing/],
      ];
      for (const [changes, message] of cases) {
        await expectRejection(train(tinyDistillation(folder, changes)), code, message);
      }
      await expectRejection(
        train(tinyDistillation(folder, { resume: false })),
        'ELASTICLM_ARGUMENT_INVALID',
        /state\.safetensors/,
      );
      // The order in which an objective is written does not matter.
      const objective = { embedding: { similarityWeight: 0.5, cosineWeight: 1 } };
      expect((await train(tinyDistillation(folder, { objective }))).reason).toBe('steps');
    });
  });

  it('names step, level and term where a loss overflows, and leaves the last state', async () => {
    await inFolder(async (folder) => {
      const { config } = writeTinyStudent(join(folder, 'student'));
      const code = 'ELASTICLM_TRAINING_DIVERGED';
      // The fifth micro-batch has targets whose loss can be said in f64, but not its gradient in f32.
      const sequences = new RandomData({ config, size: 60 });
      let calls = 0;
      const data = {
        size: 60,
        length: (position: number) => sequences.length(position),
        batch: async (positions: readonly number[]): Promise<TrainBatch> => {
          calls += 1;
          const targets = new Float32Array(positions.length).fill(calls === 5 ? 3e38 : 1);
          return { ...(await sequences.batch(positions)), targets };
        },
      };
      const output = join(folder, 'other');
      const objective = { regression: { weight: 100 } };
      const options = tinyDistillation(folder, { data, objective, output, checkpointEverySteps: 2 });
      await expectRejection(train(options), code, /the gradient's norm over all levels at step 5, /);

      // With this weight not even f64 can.
      calls = 4;
      const beyond = {
        ...options,
        objective: { regression: { weight: 1e300 } },
        output: join(folder, 'beyond'),
      };
      const message = /the loss 'regression' of level 1 at step 1, received Infinity.*lower learningRate/;
      await expectRejection(train(beyond), code, message);
      const events: TrainEvent[] = [];
      calls = 100; // past the broken one
      await train({ ...options, onEvent: (event) => events.push(event) });
      expect(events[0]).toMatchObject({ type: 'start', step: 4 });
    });
  });

  it('refuses empty data, unknown levels, another teacher and ids that are none', async () => {
    await inFolder(async (folder) => {
      const { config } = writeTinyStudent(join(folder, 'student'));
      const empty = new RandomData({ config, size: 0 });
      await expectRejection(train(tinyDistillation(folder, { data: empty })), 'ELASTICLM_DATA_INVALID');
      await expectRejection(
        train(tinyDistillation(folder, { levels: [1, 0.3] })),
        'ELASTICLM_LEVEL_UNKNOWN',
        /1, 0\.5, 0\.25.*received 0\.3/,
      );
      writeTinyCheckpoint(join(folder, 'wide'), { headDim: 16 });
      await expectRejection(
        train(tinyDistillation(folder, { teacher: join(folder, 'wide') })),
        'ELASTICLM_CONFIG_INVALID',
        /hiddenSize 32, as the student's.*received 64/,
      );
      const strange = writeTinyCheckpoint(join(folder, 'strange'));
      rmSync(join(strange.directory, 'tokenizer.json'));
      const path = join(strange.directory, 'vocab.txt');
      writeFileSync(path, readFileSync(path, 'utf8').replace('\nfox\n', '\nwolf\n'));
      await expectRejection(
        train(tinyDistillation(folder, { teacher: strange.directory })),
        'ELASTICLM_TOKENIZER_INVALID',
        /"fox".*received "wolf"/,
      );
      const beyond = new RandomData({ config: { ...config, vocabSize: 1000 }, size: 50 });
      await expectRejection(
        train(tinyDistillation(folder, { data: beyond })),
        'ELASTICLM_BATCH_INVALID',
        /an id from 0 to 159/,
      );
      const alone = tinyDistillation(folder);
      delete alone.teacher;
      await expectRejection(train(alone), 'ELASTICLM_CONFIG_INVALID', /teacher/);
    });
  });

  it('refuses options that are none, naming them', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      const cases: [Parameters<typeof tinyDistillation>[1], RegExp][] = [
        [{ learningRate: 0 }, /learningRate/],
        [{ learningRate: Number.NaN }, /learningRate/],
        [{ steps: 0 }, /steps/],
        [{ steps: 1, epochs: 1 }, /either steps or epochs/],
        [{ tokensPerMicroBatch: 1.5 }, /tokensPerMicroBatch/],
        [{ betas: [0.9, 1] }, /betas/],
        [{ seed: -1 }, /seed/],
        [{ mode: 'both' as 'mixed' }, /mode/],
        [{ levelSampling: { sandwich: -1 } }, /levelSampling/],
        [{ levelWeights: { '0.7': 1 } }, /levelWeights/],
        [{ levelWeights: { '0.5': 0 } }, /levelWeights/],
        [{ levelShares: { '0.7': 1 } }, /levelShares/],
        [{ levelShares: { '0.5': 1.5 } }, /up to 1 for options.levelShares/],
        [{ levelShares: { '0.5': 0.5 }, objective: { contrastive: { weight: 1 } } }, /levelShares/],
        [{ adapters: true, objective: { hidden: { weight: 1 } } }, /adapters/],
        [{ best: { metric: 'x' } }, /evaluate/],
        [{ labels: ['a'] }, /labels/],
        [{ levels: [] }, /levels/],
      ];
      for (const [changes, message] of cases) {
        const options = { ...tinyDistillation(folder), ...changes };
        await expectRejection(train(options), 'ELASTICLM_ARGUMENT_INVALID', message);
      }
    });
  });

  it('says so where it cannot write, and where a state or a log is broken', async () => {
    await inFolder(async (folder) => {
      writeTinyStudent(join(folder, 'student'));
      writeFileSync(join(folder, 'file'), '');
      const onFile = tinyDistillation(folder, { output: join(folder, 'file', 'run') });
      await expectRejection(train(onFile), 'ELASTICLM_FILE_UNWRITABLE', /file/);

      await train(tinyDistillation(folder, { maxMinutes: 1e-9 }));
      const statePath = join(folder, 'run', 'state.safetensors');
      const logPath = join(folder, 'run', 'log.jsonl');
      const [state, log] = [readFileSync(statePath), readFileSync(logPath)];
      writeFileSync(logPath, log.subarray(0, 10));
      await expectRejection(train(tinyDistillation(folder)), 'ELASTICLM_FILE_UNREADABLE', /log/);
      writeFileSync(logPath, log);
      writeFileSync(statePath, state.subarray(0, state.length - 8));
      await expectRejection(train(tinyDistillation(folder)), 'ELASTICLM_CHECKPOINT_INVALID');
      writeFileSync(
        statePath,
        Buffer.from(state.toString('latin1').replace('\\"step\\":1', '\\"step\\":7'), 'latin1'),
      );
      await expectRejection(train(tinyDistillation(folder)), 'ELASTICLM_CHECKPOINT_INVALID', /1 updates/);
      writeFileSync(statePath, state);

      // A file where the log should be a file and the state a file: a folder in the way.
      rmSync(logPath);
      mkdirSync(logPath);
      await expectRejection(train(tinyDistillation(folder)), 'ELASTICLM_FILE_UNWRITABLE', /log/);
      rmSync(logPath, { recursive: true });
      writeFileSync(logPath, log);
      expect((await train(tinyDistillation(folder))).reason).toBe('steps');
    });
  });

  it('passes on what the data throws, and leaves nothing running', async () => {
    await inFolder(async (folder) => {
      const { config } = writeTinyStudent(join(folder, 'student'));
      const good = new RandomData({ config, size: 50 });
      let calls = 0;
      const data = {
        size: 50,
        length: (position: number) => good.length(position),
        batch: (positions: readonly number[]): Promise<TrainBatch> => {
          calls += 1;
          if (calls === 4) throw new Error('the disk went away');
          return good.batch(positions);
        },
      };
      await expect(train(tinyDistillation(folder, { data }))).rejects.toThrow('the disk went away');
    });
  });
});
