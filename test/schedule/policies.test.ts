import { describe, expect, it } from 'vitest';
import { CostModel, Dispatcher, paperPolicy, slackPolicy, staticPolicy } from '../../lib/schedule/index.js';
import { Random } from '../support/random.js';
import { bestOutcome, playOut, randomInstance, workOf, type Instance } from './instances.js';

/** Estimates are exact here, so all of the time may be planned with. */
const slack = slackPolicy({ plannedShare: 1 });

function bounds({ jobs }: Instance): number[] {
  const deadlines = jobs.map(({ deadlineMs }) => deadlineMs);
  const mean = deadlines.reduce((sum, deadline) => sum + deadline, 0) / deadlines.length;
  return [Math.min(...deadlines), mean, Math.max(...deadlines)];
}

describe('slackPolicy()', () => {
  it("never keeps fewer deadlines than the paper's rule, whatever its bound, or than a static level", () => {
    const random = new Random(1);
    for (let idx = 0; idx < 2000; ++idx) {
      const instance = randomInstance(random, random.integer(1, 8));
      const { inTime } = playOut(instance, slack);
      for (const latencyBoundMs of bounds(instance)) {
        const paper = playOut(instance, paperPolicy({ latencyBoundMs }));
        expect(inTime, `instance ${idx}, bound ${latencyBoundMs} ms`).toBeGreaterThanOrEqual(paper.inTime);
      }
      for (const { level } of instance.levels) {
        const fixed = playOut(instance, staticPolicy(level));
        expect(inTime, `instance ${idx}, level ${level}`).toBeGreaterThanOrEqual(fixed.inTime);
      }
    }
  });

  it('reaches 97% of the best summed quality of any order and levels, over 1,000 instances', () => {
    const random = new Random(2);
    let reached = 0;
    let best = 0;
    for (let idx = 0; idx < 1000; ++idx) {
      const instance = randomInstance(random, random.integer(1, 5));
      reached += playOut(instance, slack).quality;
      best += bestOutcome(instance).quality;
    }
    expect(reached / best).toBeGreaterThanOrEqual(0.97);
  });

  it('is not 97% good by itself: the rules that it is compared with are far from it on the same instances', () => {
    const random = new Random(2);
    let paper = 0;
    let best = 0;
    for (let idx = 0; idx < 200; ++idx) {
      const instance = randomInstance(random, random.integer(1, 5));
      paper += playOut(instance, paperPolicy({ latencyBoundMs: bounds(instance)[1]! })).quality;
      best += bestOutcome(instance).quality;
    }
    expect(paper / best).toBeLessThan(0.9);
  });

  it('takes short requests at larger levels than long ones where time is short', () => {
    const dispatcher = twoLevels();
    // At the large level they take 100 ms and 10 ms; 75 ms are enough for one of them there, and it is the one that costs less.
    dispatcher.submit(0, { work: workOf(100), deadlineMs: 75 });
    dispatcher.submit(0, { work: workOf(10), deadlineMs: 75 });
    const { members } = dispatcher.next(0)!;
    expect(members.map(({ request, levelIdx }) => [request.work.tokens, levelIdx])).toEqual([[100, 1]]);
    dispatcher.finish();
    expect(dispatcher.next(50)!.members[0]!.levelIdx).toBe(0);
  });

  it('refuses what cannot be in time at the smallest level, and says when to try again', () => {
    const dispatcher = twoLevels();
    expect(dispatcher.submit(0, { work: workOf(100), deadlineMs: 60 }).isAdmitted).toBe(true);
    const refused = dispatcher.submit(0, { work: workOf(100), deadlineMs: 60 });
    // 100 ms of work at the small level, 60 ms of time
    expect(refused).toEqual({ isAdmitted: false, reason: 'deadline', retryAfterMs: 40 });
    expect(dispatcher.submit(40, { work: workOf(100), deadlineMs: 140 }).isAdmitted).toBe(true);
  });

  it('refuses what would make an accepted one late, though it could be in time itself', () => {
    const dispatcher = twoLevels();
    dispatcher.submit(0, { work: workOf(100), deadlineMs: 55 });
    expect(dispatcher.submit(0, { work: workOf(20), deadlineMs: 50 }).isAdmitted).toBe(false);
    expect(dispatcher.submit(0, { work: workOf(20), deadlineMs: 70 }).isAdmitted).toBe(true);
  });

  it('keeps to the levels that a request allows', () => {
    const random = new Random(3);
    for (let idx = 0; idx < 300; ++idx) {
      const { levels, cost, jobs } = randomInstance(random, 8);
      const dispatcher = new Dispatcher({ levels, cost, policy: slack });
      const allowed = new Map<number, [number, number]>();
      for (const job of jobs) {
        const [maxLevel, minLevel] = [random.uniform(), random.uniform()].sort((a, b) => b - a) as [
          number,
          number,
        ];
        if (!levels.some(({ level }) => level <= maxLevel && level >= minLevel)) continue;
        const submission = dispatcher.submit(0, { ...job, minLevel, maxLevel });
        if (submission.isAdmitted) allowed.set(submission.request.id, [minLevel, maxLevel]);
      }
      for (let nowMs = 0; ;) {
        const dispatch = dispatcher.next(nowMs);
        if (dispatch === undefined) break;
        for (const { request, levelIdx } of dispatch.members) {
          const [minLevel, maxLevel] = allowed.get(request.id)!;
          expect(levels[levelIdx]!.level).toBeGreaterThanOrEqual(minLevel);
          expect(levels[levelIdx]!.level).toBeLessThanOrEqual(maxLevel);
        }
        nowMs += dispatch.members.length === 0 ? 0 : cost.nominalBatchMs(dispatch.members);
        dispatcher.finish();
      }
    }
  });

  it('gives requests without a deadline their share at any load, and all of an idle machine', () => {
    const dispatcher = twoLevels();
    const bulk = { work: workOf(1), deadlineMs: Infinity, priority: 'bulk' as const };
    for (let idx = 0; idx < 100; ++idx) dispatcher.submit(0, bulk);
    let bulkMs = 0;
    let nowMs = 0;
    while (nowMs < 1000) {
      // Never an idle moment: one waits whenever another has run.
      dispatcher.submit(nowMs, { work: workOf(10), deadlineMs: nowMs + 100 });
      const { members } = dispatcher.next(nowMs)!;
      const isBulk = members[0]!.request.priority === 'bulk';
      const ms = members.reduce(
        (sum, { request, levelIdx }) => sum + request.work.tokens * (levelIdx === 0 ? 1 : 0.5),
        0,
      );
      if (isBulk) bulkMs += ms;
      nowMs += ms;
      dispatcher.finish(ms);
    }
    expect(bulkMs / nowMs).toBeGreaterThan(0.03);
    expect(bulkMs / nowMs).toBeLessThan(0.07);
    // Those with a deadline are served or expire; then nothing but bulk is left.
    for (let round = 0; round < 10; ++round) {
      nowMs += 10;
      dispatcher.next(nowMs);
      dispatcher.finish(10);
    }
    const { members } = dispatcher.next(nowMs)!;
    expect(members.length).toBeGreaterThan(1);
    expect(members.every(({ request }) => request.priority === 'bulk')).toBe(true);
  });
});

describe('paperPolicy()', () => {
  it('serves in order of arrival, at the largest level k with (g + 1) t_k <= T', () => {
    const { levels, cost } = twoLevelParts();
    const dispatcher = new Dispatcher({ levels, cost, policy: paperPolicy({ latencyBoundMs: 35 }) });
    for (let idx = 0; idx < 4; ++idx) dispatcher.submit(0, { work: workOf(10), deadlineMs: 1000 - idx });
    // 4 x 10 ms and 4 x 5 ms against 35 ms, then 3 x 10 ms
    const levelIdxs: number[] = [];
    const ids: number[] = [];
    for (let dispatch = dispatcher.next(0); dispatch !== undefined; dispatch = dispatcher.next(0)) {
      levelIdxs.push(dispatch.members[0]!.levelIdx);
      ids.push(dispatch.members[0]!.request.id);
      dispatcher.finish();
    }
    expect(levelIdxs).toEqual([1, 0, 0, 0]);
    expect(ids).toEqual([0, 1, 2, 3]);
  });
});

/** A token takes 1 ms and 0.5 ms. */
function twoLevelParts(): Pick<Instance, 'levels' | 'cost'> {
  const perToken = (perTokenMs: number) => ({ perSequenceMs: 0, perTokenMs, perTokenSquareMs: 0 });
  return {
    levels: [
      { level: 1, quality: 1 },
      { level: 0.5, quality: 0.9 },
    ],
    cost: new CostModel({ batchMs: 0, levels: [perToken(1), perToken(0.5)] }),
  };
}

function twoLevels(): Dispatcher {
  return new Dispatcher({ ...twoLevelParts(), policy: slack });
}
