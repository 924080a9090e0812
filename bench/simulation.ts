/**
 * Policies under load in virtual time: the recorded arrivals of a trace, and bursts, at 0.5 to 4 times the capacity of the largest level.
 *
 *   npm run bench:simulation -- [--model models/minilm-elastic] [--precision bf16] [--deadline 100] [--out bench/results/simulation.json]
 *
 * Reads `traces/azure-llm-2023-conv.csv` below ELASTICLM_DATA (default ../shared/data). The profile is measured first: run it on a quiet
 * machine. A run that misses a bar says so in its record and ends with 1.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  arrivals,
  coefficientsOf,
  CostModel,
  ElasticModel,
  paperPolicy,
  profileModel,
  rateAtLoad,
  readTrace,
  simulate,
  slackPolicy,
  staticPolicy,
  summarize,
  withMeanRate,
  type Arrival,
  type Policy,
  type Precision,
  type Summary,
} from '../lib/index.js';
import { writeRecord } from './record.js';

const loads = [0.5, 1, 2, 4];
/** Share of all requests that must be answered by their deadline at twice and four times the capacity. */
const attainmentBar = 0.99;
const noiseSigma = 0.1;
const sizes = { kind: 'lognormal', medianTokens: 64, sigma: 0.8 } as const;
/** Twice as many in bursts of two seconds: at load 4 they are nearly 7 times the largest level's capacity. */
const bursts = {
  kind: 'mmpp',
  states: [
    { ratePerSecond: 1, meanDwellMs: 8000 },
    { ratePerSecond: 2, meanDwellMs: 2000 },
  ],
} as const;
const burstsMs = 300_000;

interface Run {
  arrivals: string;
  load: number;
  policy: string;
  summary: Summary;
}

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/minilm-elastic' },
    precision: { type: 'string', default: 'bf16' },
    deadline: { type: 'string', default: '100' },
    out: { type: 'string', default: 'bench/results/simulation.json' },
  },
});
const deadlineMs = Number(values.deadline);

await using model = await ElasticModel.load(values.model, { precision: values.precision as Precision });
const profile = await profileModel(model, { budgetMs: 10_000 });
const cost = new CostModel(coefficientsOf(profile));
const trace = await readTrace(
  join(process.env['ELASTICLM_DATA'] ?? '../shared/data', 'traces', 'azure-llm-2023-conv.csv'),
  { timestampColumn: 'TIMESTAMP', tokensColumn: 'ContextTokens' },
);
const sources: Record<string, (load: number) => Iterable<Arrival>> = {
  azure: (load) => trace.arrivals(trace.speedAtLoad(load, cost)),
  mmpp: (load) => {
    const process = withMeanRate(bursts, rateAtLoad(load, sizes, cost));
    return arrivals({ process, sizes, durationMs: burstsMs, seed: 1 });
  },
};
const policies = (): Policy[] => [
  staticPolicy(1),
  staticPolicy(0.5),
  staticPolicy(0.1),
  paperPolicy({ latencyBoundMs: deadlineMs }),
  slackPolicy(),
];

const runs: Run[] = [];
const missed: string[] = [];
for (const [name, source] of Object.entries(sources)) {
  for (const load of loads) {
    const atLoad: Run[] = [];
    for (const policy of policies()) {
      const log = await simulate({
        arrivals: source(load),
        levels: profile.levels,
        coefficients: coefficientsOf(profile),
        policy,
        slo: { deadlineMs },
        truth: { noiseSigma, noiseSeed: 1 },
      });
      const { summary } = await summarize(log, profile.levels);
      atLoad.push({ arrivals: name, load, policy: policy.name, summary });
      print(atLoad.at(-1)!);
    }
    runs.push(...atLoad);
    missed.push(...missedBars(atLoad));
  }
}
writeRecord(values.out, { model: values.model, deadlineMs, noiseSigma, profile, missed, runs });
for (const bar of missed) process.stdout.write(`! ${bar}\n`);
process.exitCode = missed.length === 0 ? 0 : 1;

/** Slack is worth at least as much as any policy that keeps the share of deadlines, keeps it where any does, and at high loads anyway. */
function missedBars(atLoad: readonly Run[]): string[] {
  const slack = atLoad.find(({ policy }) => policy === 'slack')!;
  const where = `${slack.arrivals} at load ${slack.load}`;
  const keeping = atLoad.filter(({ summary }) => (summary.attainmentOfOffered ?? 0) >= attainmentBar);
  const isNeeded = slack.load >= 2 || keeping.length > 0;
  const lines: string[] = [];
  if (isNeeded && !keeping.includes(slack)) {
    lines.push(
      `${where}: slack keeps ${slack.summary.attainmentOfOffered?.toFixed(4)} of the deadlines, at least ${attainmentBar}`,
    );
  }
  for (const { policy, summary } of keeping) {
    if (summary.effectiveQuality! <= slack.summary.effectiveQuality!) continue;
    lines.push(
      `${where}: ${policy} is worth ${summary.effectiveQuality!}, slack ${slack.summary.effectiveQuality!}`,
    );
  }
  return lines;
}

function print({ arrivals: name, load, policy, summary }: Run): void {
  const { attainmentOfOffered, effectiveQuality, latencyMs, meanLevel } = summary;
  const facts = [
    `in time ${((attainmentOfOffered ?? 0) * 100).toFixed(2)}%`,
    `quality ${effectiveQuality?.toFixed(4) ?? '-'}`,
    `p50 ${latencyMs?.p50.toFixed(1) ?? '-'} ms`,
    `p99 ${latencyMs?.p99.toFixed(1) ?? '-'} ms`,
    `level ${meanLevel?.toFixed(3) ?? '-'}`,
  ];
  process.stdout.write(`${name} load ${load} ${policy}: ${facts.join(', ')}\n`);
}
