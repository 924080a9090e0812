/**
 * What a decision of the slack policy costs while many requests wait: the next batch, and taking one more request.
 *
 *   npm run bench:schedule -- [--queued 10000] [--out bench/results/schedule.json]
 *
 * A run that misses the bar says so in its record and ends with 1.
 */
import { parseArgs } from 'node:util';
import { CostModel, Dispatcher, slackPolicy } from '../lib/index.js';
import { Random } from '../test/support/random.js';
import { writeRecord } from './record.js';

/** Median of a decision, in µs. */
const barUs = 5;
const warmUp = 20_000;
const decisions = 50_000;
const sloMs = 60_000;

const { values } = parseArgs({
  options: {
    queued: { type: 'string', default: '10000' },
    out: { type: 'string', default: 'bench/results/schedule.json' },
  },
});
const queued = Number(values.queued);

const levels = [1, 0.5, 0.4, 0.3, 0.2, 0.1].map((level) => ({ level, quality: 1 - 0.15 * (1 - level) ** 2 }));
const cost = new CostModel({
  batchMs: 0.1,
  levels: levels.map(({ level }) => ({
    perSequenceMs: 0.02,
    perTokenMs: 0.003 + 0.03 * level,
    perTokenSquareMs: 1e-5 * level,
  })),
});
const dispatcher = new Dispatcher({ levels, cost, policy: slackPolicy(), maxQueued: 2 * queued });
const random = new Random(1);
let nowMs = 0;

function submit(): void {
  const tokens = random.integer(8, 256);
  const deadlineMs = nowMs + sloMs * (0.8 + 0.4 * random.uniform());
  const work = { sequences: 1, tokens, tokenSquares: tokens * tokens };
  if (!dispatcher.submit(nowMs, { work, deadlineMs }).isAdmitted) throw new Error('a request was refused');
}

function quantiles(times: number[]): { medianUs: number; p99Us: number; meanUs: number } {
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.floor(share * times.length)]! * 1000;
  const meanUs = (1000 * times.reduce((sum, ms) => sum + ms, 0)) / times.length;
  return { medianUs: at(0.5), p99Us: at(0.99), meanUs };
}

while (dispatcher.numWaiting < queued) submit();
const chooseMs: number[] = [];
const submitMs: number[] = [];
let members = 0;
for (let round = 0; round < warmUp + decisions; ++round) {
  const beginMs = performance.now();
  const dispatch = dispatcher.next(nowMs)!;
  const endMs = performance.now();
  const serviceMs = cost.nominalBatchMs(dispatch.members);
  nowMs += serviceMs;
  dispatcher.finish(serviceMs);
  if (round >= warmUp) {
    chooseMs.push(endMs - beginMs);
    members += dispatch.members.length;
  }
  for (let count = 0; count < dispatch.members.length; ++count) {
    const beforeMs = performance.now();
    submit();
    if (round >= warmUp) submitMs.push(performance.now() - beforeMs);
  }
}
const decision = quantiles(chooseMs);
const isMet = decision.medianUs <= barUs;
const result = {
  queued,
  decisions,
  membersPerBatch: members / decisions,
  decision,
  submission: quantiles(submitMs),
  barUs,
  isMet,
};
writeRecord(values.out, result);
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
process.exitCode = isMet ? 0 : 1;
