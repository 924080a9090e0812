import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import {
  arrivals,
  coefficientsOf,
  CostModel,
  ElasticError,
  rateAtLoad,
  readProfile,
  readTrace,
  simulate,
  summarize,
  timeSeries,
  withMeanRate,
  type Arrival,
  type Profile,
} from '../../index.js';
import { given } from '../options.js';
import { formatMs, printJson, printTable, Progress } from '../output.js';
import { simulationReport, type ReportedRun } from '../report/simulation-report.js';
import { addSimulateOptions, policyOf, processOf, type SimulateOptions } from '../simulation-options.js';

const example = `
Example, with a trace of Azure's:
  elasticlm simulate --profile machine.json --trace azure-llm-2023-conv.csv \\
    --timestamp-column TIMESTAMP --tokens-column ContextTokens \\
    --policy static-1,static-0.5,paper,slack --deadline 100 --html report.html`;

const secondMs = 1000;
const defaultSeconds = 60;
/** Windows that the time in which requests come has in the report: a few pixels each. */
const numWindows = 240;

export function simulateCommand(): Command {
  const command = new Command('simulate').description(
    'plays arrivals or a trace against scheduling policies, in virtual time: latency, levels and quality under load',
  );
  return addSimulateOptions(command).addHelpText('after', example).action(runSimulations);
}

async function runSimulations(options: SimulateOptions, command: Command): Promise<void> {
  const playAt = arrivalsSource(options, command);
  const profile = await readProfile(options.profile);
  const policies = options.policy ?? defaultPolicies(profile);
  const arrivalsAt = await playAt(new CostModel(coefficientsOf(profile)));
  const total = options.load.length * policies.length;
  const runs: ReportedRun[] = [];
  const progress = new Progress('simulate');
  try {
    for (const load of options.load) {
      for (const policy of policies) {
        progress.update(runs.length, total);
        const run = await simulateOnce({ load, policy, arrivals: arrivalsAt(load) }, profile, options);
        runs.push(run);
        if (options.json === true) printJson({ load, policy, ...run.summary });
      }
    }
  } finally {
    progress.stop();
  }
  if (options.html !== undefined) await writeReport(options.html, profile, runs, options);
  if (options.json !== true) printRuns(runs);
}

type ArrivalsAtLoad = (load: number) => Iterable<Arrival>;

/** Options are checked before any file is read. */
function arrivalsSource(
  options: SimulateOptions,
  command: Command,
): (cost: CostModel) => Promise<ArrivalsAtLoad> {
  const { trace: path, tokens: sizes, seed, seconds } = options;
  if (path !== undefined) {
    return async (cost) => {
      const trace = await readTrace(path, given(options, 'timestampColumn', 'tokensColumn', 'timeUnit'));
      const durationMs = seconds === undefined ? Infinity : seconds * secondMs;
      return (load) => trace.arrivals(trace.speedAtLoad(load, cost), durationMs);
    };
  }
  for (const name of ['timestampColumn', 'tokensColumn', 'timeUnit'] as const) {
    if (options[name] !== undefined) command.error(`error: ${flagOf(name)} is of --trace`);
  }
  const process = processOf(options, command);
  const durationMs = (seconds ?? defaultSeconds) * secondMs;
  return (cost) =>
    Promise.resolve((load) =>
      arrivals({ process: withMeanRate(process, rateAtLoad(load, sizes, cost)), sizes, durationMs, seed }),
    );
}

function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function defaultPolicies({ levels }: Profile): string[] {
  const ends = new Set([levels[0]!.level, levels.at(-1)!.level]);
  return [...[...ends].map((level) => `static-${level}`), 'paper', 'slack'];
}

async function simulateOnce(
  { load, policy, arrivals }: { load: number; policy: string; arrivals: Iterable<Arrival> },
  profile: Profile,
  options: SimulateOptions,
): Promise<ReportedRun> {
  const { levels } = profile;
  const log = await simulate({
    arrivals,
    levels,
    coefficients: coefficientsOf(profile),
    policy: policyOf(policy, options.deadline),
    slo: { deadlineMs: options.deadline },
    truth: { noiseSigma: options.noise, noiseSeed: options.seed, slowPeriods: options.slow },
    maxQueued: options.maxQueued,
  });
  const run: ReportedRun = { load, policy, ...(await summarize(log, levels)) };
  if (options.html === undefined || log.count === 0) return run;
  // The same windows for all policies, which differ in how long they take to answer the last requests.
  const comesMs = log.at(log.count - 1).arrivalMs - log.beginMs;
  return { ...run, series: await timeSeries(log, levels, { windowMs: Math.max(1, comesMs) / numWindows }) };
}

/** @throws ELASTICLM_FILE_UNREADABLE, ELASTICLM_FILE_UNWRITABLE */
async function writeReport(
  path: string,
  profile: Profile,
  runs: readonly ReportedRun[],
  options: SimulateOptions,
): Promise<void> {
  const page = await simulationReport({
    profile,
    runs,
    facts: factsOf(options),
    deadlineMs: options.deadline,
  });
  try {
    await writeFile(path, page);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_UNWRITABLE',
      { expected: 'a place to write the report to', subject: path, received: (cause as Error).message },
      { cause },
    );
  }
}

/** What was asked for, for people. */
function factsOf(options: SimulateOptions): [string, string][] {
  const { trace, arrivals: kind, seconds, seed, noise = 0, slow = [], deadline } = options;
  const facts: [string, string][] = [
    ['arrivals', trace ?? kind],
    ['deadline', formatMs(deadline)],
    [
      'time',
      seconds === undefined && trace !== undefined ? 'the whole trace' : `${seconds ?? defaultSeconds} s`,
    ],
    ['seed', String(seed)],
  ];
  if (noise > 0) facts.push(['noise of service times', `lognormal, sigma ${noise}`]);
  for (const { beginMs, endMs, factor } of slow) {
    facts.push(['slow period', `${beginMs / secondMs} s to ${endMs / secondMs} s, ${factor} times as long`]);
  }
  return facts;
}

function printRuns(runs: readonly ReportedRun[]): void {
  printTable(
    [
      'load',
      'policy',
      'met',
      'met of admitted',
      'quality',
      'p50',
      'p95',
      'p99',
      'mean level',
      'late',
      'refused',
      'expired',
      'busy',
    ],
    runs.map(({ load, policy, summary }) => [
      load,
      policy,
      formatShare(summary.attainmentOfOffered),
      formatShare(summary.attainmentOfAdmitted),
      formatNumber(summary.effectiveQuality, 4),
      ...(['p50', 'p95', 'p99'] as const).map((name) =>
        summary.latencyMs === null ? '-' : formatMs(summary.latencyMs[name]),
      ),
      formatNumber(summary.meanLevel, 3),
      summary.late,
      summary.refused,
      summary.expired,
      formatShare(summary.busyShare),
    ]),
  );
}

function formatShare(share: number | null): string {
  return share === null ? '-' : `${(share * 100).toFixed(2)}%`;
}

function formatNumber(value: number | null, decimals: number): string {
  return value === null ? '-' : value.toFixed(decimals);
}
