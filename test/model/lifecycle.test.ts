import { getEventListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../lib/errors.js';
import { ElasticModel } from '../../lib/model/index.js';
import type { PackedBatch } from '../../lib/types.js';
import { randomBatch } from '../support/batches.js';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { defaultModelDirectory } from '../support/default-model.js';
import { expectRejection } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { range } from '../support/reference-encoder.js';

let root: string;
let directory: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'elasticlm-lifecycle-'));
  directory = writeTinyCheckpoint(root, { layers: 4, heads: 8, headDim: 32, neurons: 1024 }).directory;
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

/** One thread, so that a second call waits while the first runs. */
const load = (): Promise<ElasticModel> => ElasticModel.load(directory, { threads: 1 });
/** Several tens of milliseconds of work. */
const slow = (model: ElasticModel): PackedBatch =>
  randomBatch(model.config, Array<number>(32).fill(32), new Random(1));
const quick = (model: ElasticModel): PackedBatch => randomBatch(model.config, [4], new Random(2));

describe('ElasticModel: each method in each state', () => {
  type Method = (model: ElasticModel) => unknown;
  const methods: [string, Method][] = [
    ['forward', (model) => model.forward(quick(model), { output: 'pooled' })],
    ['calibrate', (model) => model.calibrate(quick(model))],
    ['plan', (model) => model.plan(quick(model))],
    ['info', (model) => model.info()],
    ['close', (model) => model.close()],
    ['[Symbol.asyncDispose]', (model) => model[Symbol.asyncDispose]()],
  ];
  const isClose = (name: string): boolean => name === 'close' || name.startsWith('[');

  it.each(methods)('%s: idle', async (_, method) => {
    const model = await load();
    await method(model);
    await model.close();
  });

  it.each(methods)('%s: busy', async (_, method) => {
    const model = await load();
    const running = model.forward(slow(model), { output: 'pooled' });
    await Promise.all([running, method(model)]);
    expect((await running).levels).toHaveLength(32);
    await model.close();
  });

  const closedStates: [string, (model: ElasticModel) => Promise<void> | undefined][] = [
    ['closing', (model) => void model.close()],
    ['closed', (model) => model.close()],
  ];
  const table = methods.flatMap(([name, method]) =>
    closedStates.map(([state, enter]) => [name, state, method, enter] as const),
  );
  it.each(table)('%s: %s', async (name, _, method, enter) => {
    const model = await load();
    await enter(model);
    const call = Promise.resolve().then(() => method(model));
    if (isClose(name)) await call;
    else await expectRejection(call, 'ELASTICLM_MODEL_CLOSED', /close\(\)/);
    await model.close();
  });
});

describe('ElasticModel.close()', () => {
  it('waits for work in flight, which keeps its results', async () => {
    const model = await load();
    const order: string[] = [];
    const calls = range(3).map(async (position) => {
      const { data } = await model.forward(slow(model), { output: 'pooled' });
      order.push(`forward ${position}`);
      return data.some((value) => value !== 0);
    });
    await model.close();
    order.push('close');
    expect(await Promise.all(calls)).toEqual([true, true, true]);
    expect(order).toEqual(['forward 0', 'forward 1', 'forward 2', 'close']);
  });

  it('gives the same promise every time', async () => {
    const model = await load();
    const closing = model.close();
    expect(model.close()).toBe(closing);
    await closing;
    expect(model.close()).toBe(closing);
    expect(model.closed).toBe(true);
  });

  it('is what `await using` calls', async () => {
    const model = await load();
    expect(await Promise.all([model[Symbol.asyncDispose](), model.close()])).toHaveLength(2);
  });
});

describe('ElasticModel.forward() with an AbortSignal', () => {
  const expectAborted = async (call: Promise<unknown>, reason: unknown): Promise<void> => {
    const error = await expectRejection(call, 'ELASTICLM_CALL_ABORTED');
    expect(error.cause).toBe(reason);
  };

  it('rejects at once when the signal has fired before the call', async () => {
    const model = await load();
    const reason = new Error('no longer wanted');
    const signal = AbortSignal.abort(reason);
    await expectAborted(model.forward(quick(model), { output: 'pooled', signal }), reason);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await model.close();
  });

  it('takes a queued call out of the queue: it rejects before the running one ends', async () => {
    const model = await load();
    const order: string[] = [];
    const running = model.forward(slow(model), { output: 'pooled' }).then(() => order.push('running'));
    const controller = new AbortController();
    const { signal } = controller;
    const queued = model.forward(slow(model), { output: 'pooled', signal }).catch((error: unknown) => {
      order.push('queued');
      throw error;
    });
    controller.abort('changed my mind');
    await expectAborted(queued, 'changed my mind');
    await running;
    expect(order).toEqual(['queued', 'running']);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await model.close();
  });

  it('stops a running call between two of its steps', async () => {
    const model = await load();
    const timed = async (call: Promise<unknown>): Promise<number> => {
      const begin = performance.now();
      await call.catch(() => undefined);
      return performance.now() - begin;
    };
    const wholeMs = await timed(model.forward(slow(model), { output: 'pooled' }));
    // A timer can come late on a busy machine: the best of several tries tells.
    let stoppedMs = Infinity;
    for (let trial = 0; trial < 10 && stoppedMs >= 0.8 * wholeMs; ++trial) {
      const controller = new AbortController();
      const { signal } = controller;
      const call = model.forward(slow(model), { output: 'pooled', signal });
      setTimeout(() => {
        controller.abort();
      }, wholeMs / 10);
      const elapsedMs = await timed(call);
      if (!signal.aborted) continue; // it was faster than the timer
      const error = await expectRejection(call, 'ELASTICLM_CALL_ABORTED');
      expect(error.cause).toBe(signal.reason);
      expect(getEventListeners(signal, 'abort')).toHaveLength(0);
      stoppedMs = elapsedMs;
    }
    expect(stoppedMs).toBeLessThan(0.8 * wholeMs);
    await model.close();
  });

  it('ignores a signal that fires after the result, and leaves no listener', async () => {
    const model = await load();
    const controller = new AbortController();
    const { signal } = controller;
    const { data } = await model.forward(quick(model), { output: 'pooled', signal });
    controller.abort();
    expect(data).toHaveLength(model.config.hiddenSize);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await model.close();
  });

  it('leaves no listener when the call fails', async () => {
    const model = await load();
    const { signal } = new AbortController();
    const batch = quick(model);
    batch.inputIds[2] = model.config.vocabSize;
    const call = model.forward(batch, { output: 'pooled', signal });
    await expectRejection(call, 'ELASTICLM_BATCH_INVALID', /2/);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await model.close();
  });

  it('survives aborts at any moment of 200 calls, and the others keep their bits', async () => {
    const model = await ElasticModel.load(directory, { threads: 2 });
    const random = new Random(3);
    const expected = await model.forward(quick(model), { output: 'hidden' });
    const calls = range(200).map(async (position) => {
      const aborted = position % 2 === 0;
      const controller = new AbortController();
      const options = { output: 'hidden', signal: controller.signal } as const;
      const call = model.forward(quick(model), options);
      if (aborted)
        setTimeout(
          () => {
            controller.abort();
          },
          random.integer(0, 5),
        );
      try {
        expect(await call).toEqual(expected);
      } catch (error) {
        expect((error as { code: ErrorCode }).code).toBe('ELASTICLM_CALL_ABORTED');
        expect(aborted).toBe(true);
      }
    });
    await Promise.all(calls);
    await model.close();
  });
});

describe('ElasticModel.forward(): who owns the batch', () => {
  it('has copied the arrays when it returns its promise', async () => {
    const model = await load();
    const batch = slow(model);
    const expected = await model.forward(batch, { output: 'pooled' });
    const call = model.forward(batch, { output: 'pooled' });
    batch.inputIds.fill(-1);
    batch.tokenTypeIds.fill(-1);
    batch.cuSeqlens.fill(-1);
    expect(await call).toEqual(expected);
    await model.close();
  });

  it('takes arrays in shared memory', async () => {
    const model = await load();
    const batch = quick(model);
    const shared = (array: Int32Array): Int32Array => {
      const copy = new Int32Array(new SharedArrayBuffer(array.byteLength));
      copy.set(array);
      return copy;
    };
    const { inputIds, tokenTypeIds, cuSeqlens } = batch;
    const sharedBatch = {
      inputIds: shared(inputIds),
      tokenTypeIds: shared(tokenTypeIds),
      cuSeqlens: shared(cuSeqlens),
    };
    const expected = await model.forward(batch, { output: 'hidden' });
    expect(await model.forward(sharedBatch, { output: 'hidden' })).toEqual(expected);
    await model.close();
  });

  it.each(['inputIds', 'tokenTypeIds', 'cuSeqlens'] as const)('refuses a detached %s', async (field) => {
    const model = await load();
    const batch = quick(model);
    structuredClone(batch[field], { transfer: [batch[field].buffer as ArrayBuffer] });
    await expectRejection(model.forward(batch, { output: 'pooled' }), 'ELASTICLM_BATCH_INVALID');
    await model.close();
  });
});

describe('errors of a call that fails on another thread', () => {
  it('carry the stack of the caller', async () => {
    const model = await load();
    const batch = quick(model);
    batch.inputIds[0] = -1;
    const callerOfForward = (): Promise<unknown> => model.forward(batch, { output: 'pooled' });
    const error = await expectRejection(callerOfForward(), 'ELASTICLM_BATCH_INVALID', /-1/);
    expect(error.stack).toContain('callerOfForward');
    expect(error.stack).toContain(error.message);
    await model.close();
  });
});

describe('the event loop during a forward', () => {
  /** The longest time between two turns of a loop that sleeps a millisecond each turn, until `until` settles. */
  const longestGap = async (until: Promise<unknown>): Promise<number> => {
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 1);
    await until;
    clearInterval(timer);
    return longest;
  };

  it('has no gap 5 ms longer than when idle while 32 x 128 tokens run', async () => {
    const model = await ElasticModel.load(defaultModelDirectory());
    const batch = randomBatch(model.config, Array<number>(32).fill(128), new Random(4));
    // Other processes stop the loop too: the quietest of several pairs tells what the forward does.
    let excess = Infinity;
    for (let trial = 0; trial < 8 && excess >= 5; ++trial) {
      const idle = await longestGap(new Promise((resolve) => setTimeout(resolve, 200)));
      const busy = await longestGap(model.forward(batch, { output: 'pooled' }));
      excess = Math.min(excess, busy - idle);
    }
    await model.close();
    expect(excess).toBeLessThan(5);
  });
});
