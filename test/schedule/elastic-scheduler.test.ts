import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  CostModel,
  ElasticScheduler,
  type Executor,
  type Member,
  type SchedulerOptions,
} from '../../lib/schedule/index.js';
import { expectRejection } from '../support/expect-code.js';
import { workOf } from './instances.js';

const levels = [
  { level: 1, quality: 1 },
  { level: 0.5, quality: 0.9 },
];

/** A token takes 1 ms and 0.5 ms; what ran is kept. */
class Sleeper implements Executor<number, string> {
  readonly levels = levels;
  readonly batches: (readonly Member<number>[])[] = [];

  workOf(tokens: number): ReturnType<typeof workOf> {
    return workOf(tokens);
  }

  async run(members: readonly Member<number>[]): Promise<string[]> {
    this.batches.push(members);
    await setTimeout(members.reduce((sum, { request, level }) => sum + request * level, 0));
    if (members.some(({ request }) => request === 13)) throw new Error('thirteen');
    return members.map(({ request, level }) => `${request} at ${level}`);
  }
}

function newScheduler(options: Partial<SchedulerOptions<number, string>> = {}): {
  scheduler: ElasticScheduler<number, string>;
  sleeper: Sleeper;
} {
  const sleeper = new Sleeper();
  const perToken = (perTokenMs: number) => ({ perSequenceMs: 0, perTokenMs, perTokenSquareMs: 0 });
  const cost = new CostModel({ batchMs: 1, levels: [perToken(1), perToken(0.5)] });
  return {
    scheduler: new ElasticScheduler({ executor: sleeper, cost, slo: { deadlineMs: 500 }, ...options }),
    sleeper,
  };
}

describe('ElasticScheduler', () => {
  it('answers at the largest level where time allows, with what happened', async () => {
    const { scheduler } = newScheduler();
    const served = await scheduler.submit(5);
    expect(served).toMatchObject({ result: '5 at 1', level: 1, batchSize: 1, isInTime: true });
    expect(served.serviceMs).toBeGreaterThan(3);
    expect(scheduler.stats()).toMatchObject({
      served: 1,
      waiting: 0,
      running: 0,
      servedByLevel: { '1': 1, '0.5': 0 },
    });
  });

  it('takes smaller levels where it does not', async () => {
    const { scheduler } = newScheduler();
    expect((await scheduler.submit(100, { deadlineMs: 90 })).level).toBe(0.5);
    expect((await scheduler.submit(20, { maxLevel: 0.7 })).level).toBe(0.5);
  });

  it('refuses at once what cannot be in time, and says when to try again', async () => {
    const { scheduler, sleeper } = newScheduler();
    const error = await expectRejection(
      scheduler.submit(100, { deadlineMs: 20 }),
      'ELASTICLM_DEADLINE_UNREACHABLE',
    );
    expect(error.retryAfterMs).toBeGreaterThan(20);
    expect(sleeper.batches).toEqual([]);
    expect(scheduler.stats()).toMatchObject({ shed: 1, served: 0 });
  });

  it('refuses when the queue is full', async () => {
    const { scheduler } = newScheduler({ maxQueued: 1 });
    const first = scheduler.submit(5);
    const error = await expectRejection(scheduler.submit(5), 'ELASTICLM_QUEUE_FULL');
    expect(error.retryAfterMs).toBeGreaterThanOrEqual(1);
    await first;
  });

  it('never computes what was aborted or has expired while it waited', async () => {
    const { scheduler, sleeper } = newScheduler();
    const running = scheduler.submit(60);
    await setTimeout(5);
    const aborter = new AbortController();
    const aborted = scheduler.submit(7, { signal: aborter.signal });
    // The executor sleeps longer than it says, so this one's time passes though it was admitted.
    const stalled = stallLoop(scheduler, 8);
    aborter.abort(new Error('gone'));
    const error = await expectRejection(aborted, 'ELASTICLM_CALL_ABORTED');
    expect(error.cause).toEqual(new Error('gone'));
    await expectRejection(stalled, 'ELASTICLM_DEADLINE_MISSED');
    await running;
    await scheduler.close();
    expect(sleeper.batches.flat().map(({ request }) => request)).toEqual([60]);
    expect(scheduler.stats()).toMatchObject({ aborted: 1, expired: 1, served: 1 });
  });

  it('runs together what is submitted together', async () => {
    const { scheduler, sleeper } = newScheduler();
    await Promise.all([1, 2, 3].map((tokens) => scheduler.submit(tokens)));
    expect(sleeper.batches).toHaveLength(1);
  });

  it("passes the executor's failure to the batch's requests, and goes on", async () => {
    const { scheduler } = newScheduler();
    await expect(scheduler.submit(13)).rejects.toThrow('thirteen');
    expect((await scheduler.submit(4)).result).toBe('4 at 1');
    expect(scheduler.stats()).toMatchObject({ failed: 1, served: 1, running: 0 });
  });

  it('answers what it has when it is closed, and takes no more', async () => {
    const { scheduler } = newScheduler();
    const served = [scheduler.submit(5), scheduler.submit(6, { priority: 'bulk' })];
    const closing = scheduler.close();
    expect(scheduler.close()).toBe(closing);
    await expectRejection(scheduler.submit(1), 'ELASTICLM_SCHEDULER_CLOSED');
    await closing;
    expect(scheduler.stats()).toMatchObject({ served: 2, waiting: 0, running: 0 });
    expect((await Promise.all(served)).map(({ result }) => result)).toEqual(['5 at 1', '6 at 1']);
  });
});

/** Submits a request that is due in 100 ms and lets the thread sleep past that. */
async function stallLoop(scheduler: ElasticScheduler<number, string>, tokens: number): Promise<unknown> {
  const served = scheduler.submit(tokens, { deadlineMs: 100 });
  const endMs = performance.now() + 110;
  while (performance.now() < endMs);
  return served;
}
