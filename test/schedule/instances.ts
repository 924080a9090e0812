/** Small scheduling problems whose best solution can be found by trying everything. */
import {
  CostModel,
  Dispatcher,
  type LevelQuality,
  type Policy,
  type Work,
} from '../../lib/schedule/index.js';
import type { Random } from '../support/random.js';

export interface Job {
  work: Work;
  deadlineMs: number;
}

export interface Instance {
  levels: LevelQuality[];
  cost: CostModel;
  /** all there at time 0 */
  jobs: Job[];
}

/** What came of an instance. */
export interface Outcome {
  inTime: number;
  /** summed over the jobs that were in time */
  quality: number;
}

/** Levels whose cost follows them and whose quality falls ever faster, jobs of 4 to 512 tokens, deadlines from hopeless to easy. */
export function randomInstance(random: Random, numJobs: number): Instance {
  const kept = [1, 0.5, 0.3, 0.1].slice(0, random.integer(2, 4));
  let quality = 1;
  const levels = kept.map((level, idx) => {
    if (idx > 0) quality -= random.uniform() * 0.15 * idx;
    return { level, quality };
  });
  const perTokenMs = 0.02 + 0.2 * random.uniform();
  const cost = new CostModel({
    batchMs: random.uniform() < 0.5 ? 0 : random.uniform(),
    levels: levels.map(({ level }) => ({
      perSequenceMs: 0.05,
      perTokenMs: perTokenMs * (level + 0.05 * random.uniform()),
      perTokenSquareMs: 0.0002 * perTokenMs * level,
    })),
  });
  const jobs = Array.from({ length: numJobs }, () => ({
    work: workOf(random.integer(4, 512)),
    deadlineMs: 0,
  }));
  const wholeMs = jobs.reduce((sum, { work }) => sum + alone(cost, 0, work), 0);
  const pressure = 0.2 + 1.3 * random.uniform();
  for (const job of jobs) job.deadlineMs = wholeMs * pressure * (0.05 + random.uniform());
  return { levels, cost, jobs };
}

export function workOf(tokens: number): Work {
  return { sequences: 1, tokens, tokenSquares: tokens * tokens };
}

/** Plays the instance with a policy; batches take exactly what the cost model says. */
export function playOut({ levels, cost, jobs }: Instance, policy: Policy): Outcome {
  const dispatcher = new Dispatcher({ levels, cost, policy });
  for (const job of jobs) dispatcher.submit(0, job);
  const outcome: Outcome = { inTime: 0, quality: 0 };
  for (let nowMs = 0; ;) {
    const dispatch = dispatcher.next(nowMs);
    if (dispatch === undefined || dispatch.members.length === 0) return outcome;
    nowMs += cost.nominalBatchMs(dispatch.members);
    // Without a time, so that the cost model, which all plays share, learns nothing.
    dispatcher.finish();
    for (const { request, levelIdx } of dispatch.members) {
      if (nowMs > request.deadlineMs + 1e-9) continue;
      outcome.inTime += 1;
      outcome.quality += levels[levelIdx]!.quality;
    }
  }
}

/** The largest summed quality and, apart from it, the largest number in time, over every order of the jobs and every choice of levels. */
export function bestOutcome(instance: Instance): Outcome {
  const best: Outcome = { inTime: 0, quality: 0 };
  const { jobs, levels, cost } = instance;
  const isUsed = jobs.map(() => false);
  // Jobs that would be late are left out of the order: running them gains nothing.
  function extend(nowMs: number, inTime: number, quality: number): void {
    best.inTime = Math.max(best.inTime, inTime);
    best.quality = Math.max(best.quality, quality);
    for (const [at, job] of jobs.entries()) {
      if (isUsed[at]) continue;
      isUsed[at] = true;
      for (const [levelIdx, level] of levels.entries()) {
        const endMs = nowMs + alone(cost, levelIdx, job.work);
        if (endMs <= job.deadlineMs) extend(endMs, inTime + 1, quality + level.quality);
      }
      isUsed[at] = false;
    }
  }
  extend(0, 0, 0);
  return best;
}

function alone(cost: CostModel, levelIdx: number, work: Work): number {
  return cost.coefficients.batchMs + cost.nominalMs(levelIdx, work);
}
