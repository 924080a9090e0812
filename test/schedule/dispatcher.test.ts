import { describe, expect, it } from 'vitest';
import { CostModel, Dispatcher, slackPolicy, staticPolicy } from '../../lib/schedule/index.js';
import { expectCode } from '../support/expect-code.js';
import { Random } from '../support/random.js';
import { workOf } from './instances.js';

const levels = [
  { level: 1, quality: 1 },
  { level: 0.5, quality: 0.9 },
  { level: 0.1, quality: 0.8 },
];

function newCost(): CostModel {
  const perToken = (perTokenMs: number) => ({ perSequenceMs: 0.1, perTokenMs, perTokenSquareMs: 1e-5 });
  return new CostModel({ batchMs: 0.2, levels: [perToken(0.1), perToken(0.05), perToken(0.01)] });
}

describe('Dispatcher', () => {
  it.each([slackPolicy(), staticPolicy(1)])(
    'loses no request and runs none twice, whatever happens ($name)',
    (policy) => {
      for (let seed = 1; seed <= 30; ++seed) {
        const random = new Random(seed);
        const cost = newCost();
        const dispatcher = new Dispatcher({ levels, cost, policy });
        const waiting = new Set<number>();
        let running: number[] = [];
        let nowMs = 0;
        let ended = 0;
        let admitted = 0;
        const end = (id: number): void => {
          expect(waiting.delete(id)).toBe(true);
          ended += 1;
        };
        for (let round = 0; round < 600; ++round) {
          nowMs += random.uniform() * 2;
          const action = random.integer(0, 5);
          if (action <= 2) {
            const isBulk = random.uniform() < 0.2;
            const deadlineMs = isBulk ? Infinity : nowMs + random.uniform() * 300;
            const submission = dispatcher.submit(nowMs, {
              work: workOf(random.integer(1, 300)),
              deadlineMs,
              priority: isBulk ? 'bulk' : 'interactive',
            });
            if (submission.isAdmitted) {
              waiting.add(submission.request.id);
              admitted += 1;
            }
          } else if (action === 3 && waiting.size > 0) {
            const id = random.pick([...waiting]);
            expect(dispatcher.cancel(id)).toBe(true);
            expect(dispatcher.cancel(id)).toBe(false);
            end(id);
          } else if (running.length > 0) {
            running = [];
            dispatcher.finish(random.uniform() * 20);
          } else {
            const dispatch = dispatcher.next(nowMs);
            expect(dispatch === undefined).toBe(waiting.size === 0);
            for (const { id, deadlineMs } of dispatch?.expired ?? []) {
              expect(deadlineMs).toBeLessThanOrEqual(nowMs);
              end(id);
            }
            for (const { request } of dispatch?.members ?? []) {
              expect(request.deadlineMs).toBeGreaterThan(nowMs);
              end(request.id);
              running.push(request.id);
            }
          }
          expect(dispatcher.numWaiting).toBe(waiting.size);
        }
        expect(ended + waiting.size).toBe(admitted);
      }
    },
  );

  it('keeps its promise while estimates are right: what it admits is in time', () => {
    for (let seed = 1; seed <= 20; ++seed) {
      const random = new Random(seed);
      const cost = newCost();
      const dispatcher = new Dispatcher({ levels, cost, policy: slackPolicy() });
      let nextArrivalMs = 0;
      let endMs = Infinity;
      let running: readonly { request: { deadlineMs: number } }[] = [];
      let late = 0;
      let served = 0;
      // About four times what the largest level could do.
      for (let count = 0; count < 3000;) {
        const nowMs = Math.min(nextArrivalMs, endMs);
        if (nowMs === nextArrivalMs) {
          dispatcher.submit(nowMs, {
            work: workOf(random.integer(4, 128)),
            deadlineMs: nowMs + 80 + 40 * random.uniform(),
          });
          nextArrivalMs -= Math.log(1 - random.uniform()) * 1.7;
          count += 1;
        } else {
          dispatcher.finish();
          served += running.length;
          late += running.filter(({ request }) => nowMs > request.deadlineMs).length;
          endMs = Infinity;
        }
        if (endMs !== Infinity) continue;
        const dispatch = dispatcher.next(nowMs);
        expect(dispatch?.expired ?? []).toEqual([]);
        if (dispatch === undefined) continue;
        running = dispatch.members;
        endMs = nowMs + cost.nominalBatchMs(dispatch.members);
      }
      expect(served).toBeGreaterThan(2000);
      expect(late).toBe(0);
    }
  });

  it('refuses when as many wait as may', () => {
    const dispatcher = new Dispatcher({ levels, cost: newCost(), policy: staticPolicy(1), maxQueued: 2 });
    const request = { work: workOf(8), deadlineMs: 1e6 };
    expect(dispatcher.submit(0, request).isAdmitted).toBe(true);
    expect(dispatcher.submit(0, request).isAdmitted).toBe(true);
    expect(dispatcher.submit(0, request)).toMatchObject({ isAdmitted: false, reason: 'full' });
  });

  it('refuses levels, costs and bounds that make no sense', () => {
    const policy = slackPolicy();
    const cost = newCost();
    expectCode(() => new Dispatcher({ levels: levels.slice(1), cost, policy }), 'ELASTICLM_ARGUMENT_INVALID');
    const rising = levels.map(({ level }, idx) => ({ level, quality: 0.5 + idx / 10 }));
    expectCode(() => new Dispatcher({ levels: rising, cost, policy }), 'ELASTICLM_ARGUMENT_INVALID');
    const dispatcher = new Dispatcher({ levels, cost, policy });
    const request = { work: workOf(8), deadlineMs: 1000 };
    expectCode(
      () => dispatcher.submit(0, { ...request, minLevel: 0.6, maxLevel: 0.9 }),
      'ELASTICLM_LEVEL_UNKNOWN',
    );
    expectCode(() => dispatcher.submit(0, { ...request, deadlineMs: NaN }), 'ELASTICLM_ARGUMENT_INVALID');
  });
});

const request = {
  id: 0,
  work: workOf(64),
  arrivalMs: 0,
  deadlineMs: 1,
  largestIdx: 0,
  smallestIdx: 2,
  priority: 'interactive',
} as const;
const members = [{ request, levelIdx: 0 }];

describe('CostModel', () => {
  it('comes to rest where the asked quantile of the batches lies below it', () => {
    const random = new Random(1);
    const cost = newCost();
    const nominalMs = cost.nominalBatchMs(members);
    let below = 0;
    const rounds = 20_000;
    for (let round = 0; round < rounds; ++round) {
      const ratio = Math.exp(0.2 * random.normal());
      if (ratio <= cost.slowdown) below += 1;
      cost.observe(members, nominalMs * ratio);
    }
    // By its rule the logarithm's steps sum up to nearly 0: 0.9 follows to within the steps' size over the rounds.
    expect(below / rounds).toBeGreaterThan(0.88);
    expect(below / rounds).toBeLessThan(0.92);
  });

  it('notices within 30 batches that a machine has become twice as slow', () => {
    const cost = newCost();
    for (let round = 0; round < 30; ++round) cost.observe(members, 2 * cost.nominalBatchMs(members));
    expect(cost.slowdown).toBeGreaterThan(1.9);
    expect(cost.slowdown).toBeLessThan(2.1);
  });

  it('refuses coefficients below 0, and levels that cost nothing', () => {
    const level = { perSequenceMs: 0, perTokenMs: 0, perTokenSquareMs: 0 };
    expectCode(() => new CostModel({ batchMs: 0, levels: [level] }), 'ELASTICLM_ARGUMENT_INVALID');
    expectCode(
      () => new CostModel({ batchMs: -1, levels: [{ ...level, perTokenMs: 1 }] }),
      'ELASTICLM_ARGUMENT_INVALID',
    );
  });
});
