/** Options of `elasticlm simulate`, and what they mean. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import {
  paperPolicy,
  slackPolicy,
  staticPolicy,
  type ArrivalProcess,
  type MmppState,
  type Policy,
  type RequestSizes,
  type SlowPeriod,
  type TimeUnit,
} from '../index.js';
import { jsonOption, parseCount, parseLevel, parsePosition, parsePositive } from './options.js';

export interface SimulateOptions {
  profile: string;
  arrivals: ArrivalProcess['kind'];
  states?: MmppState[];
  amplitude?: number;
  period?: number;
  tokens: RequestSizes;
  trace?: string;
  timestampColumn?: string;
  tokensColumn?: string;
  timeUnit?: TimeUnit;
  load: number[];
  policy?: string[];
  deadline: number;
  seconds?: number;
  seed: number;
  noise?: number;
  slow?: SlowPeriod[];
  maxQueued?: number;
  html?: string;
  json?: boolean;
}

const secondMs = 1000;
/** Calm for 8 s, six times as much for 2 s: bursts that outlast any deadline, and twice the mean rate. */
const defaultStates = '1:8,6:2';
const defaultAmplitude = 0.8;
const defaultPeriodSeconds = 60;
const defaultTokens = 'lognormal:64:0.8';

export function addSimulateOptions(command: Command): Command {
  return command
    .requiredOption('--profile <file>', "the machine's levels: cost and quality (docs/simulation.md)")
    .addOption(
      new Option('--arrivals <process>', 'how requests come')
        .choices(['constant', 'poisson', 'mmpp', 'diurnal'])
        .default('poisson'),
    )
    .addOption(
      new Option(
        '--states <rate:seconds,…>',
        `states of mmpp: rate relative to the others, mean time in it (default: ${defaultStates})`,
      ).argParser(parseStates),
    )
    .addOption(
      new Option(
        '--amplitude <part>',
        `of diurnal: how far the rate swings around its mean, up to 1 (default: ${defaultAmplitude})`,
      ).argParser(parseShare),
    )
    .addOption(
      new Option(
        '--period <seconds>',
        `of diurnal: of one swing (default: ${defaultPeriodSeconds})`,
      ).argParser(parsePositive),
    )
    .addOption(
      new Option(
        '--tokens <sizes>',
        "requests' tokens: a number, a list of equally likely ones, or lognormal:MEDIAN:SIGMA",
      )
        .argParser(parseSizes)
        .default(parseSizes(defaultTokens), defaultTokens),
    )
    .addOption(
      new Option('--trace <file>', 'recorded requests instead: .csv, .jsonl or .ndjson').conflicts([
        'arrivals',
        'states',
        'amplitude',
        'period',
        'tokens',
      ]),
    )
    .option('--timestamp-column <name>', "of the trace: column or field (default: 'timestamp')")
    .option('--tokens-column <name>', "of the trace: column or field (default: 'tokens')")
    .addOption(
      new Option('--time-unit <unit>', 'of the trace: what plain numbers count (default: s)').choices([
        's',
        'ms',
      ]),
    )
    .addOption(
      new Option(
        '--load <list>',
        'mean load: 1 keeps a server busy that runs each request alone at the largest level; a trace is played as fast as that takes',
      )
        .argParser((text) => text.split(',').map(parsePositive))
        .default([0.5, 1, 2, 4], '0.5,1,2,4'),
    )
    .addOption(
      new Option(
        '--policy <list>',
        'static-LEVEL, paper, slack (default: static at the largest and at the smallest level, paper, slack)',
      ).argParser((text) => text.split(',').map(parsePolicyName)),
    )
    .addOption(new Option('--deadline <ms>', 'from arrival to answer').argParser(parsePositive).default(100))
    .addOption(
      new Option('--seconds <n>', 'requests come for so long (default: 60; a whole trace)').argParser(
        parsePositive,
      ),
    )
    .addOption(new Option('--seed <n>', 'of everything random').argParser(parsePosition).default(1))
    .addOption(
      new Option(
        '--noise <sigma>',
        'batches take a lognormal factor of mean 1 more or less than the profile says (default: 0)',
      ).argParser(parsePositive),
    )
    .addOption(
      new Option(
        '--slow <begin:end:factor,…>',
        'seconds in which batches take a factor of what the profile says',
      ).argParser(parseSlowPeriods),
    )
    .addOption(
      new Option('--max-queued <n>', 'requests that may wait at a time (default: 10000)').argParser(
        parseCount,
      ),
    )
    .option('--html <file>', 'writes a report with charts: one file that needs no other')
    .addOption(jsonOption());
}

/** Rates are relative here: a load gives the mean. Options of another process are a mistake. */
export function processOf(options: SimulateOptions, command: Command): ArrivalProcess {
  const { arrivals: kind, states, amplitude = defaultAmplitude, period = defaultPeriodSeconds } = options;
  for (const [name, owner] of Object.entries(processOptions)) {
    if (command.getOptionValueSource(name) === undefined || kind === owner) continue;
    command.error(`error: --${name} is of --arrivals ${owner}`);
  }
  switch (kind) {
    case 'constant':
    case 'poisson':
      return { kind, ratePerSecond: 1 };
    case 'mmpp':
      return { kind, states: states ?? parseStates(defaultStates) };
    case 'diurnal':
      return { kind, ratePerSecond: 1, amplitude, periodMs: period * secondMs };
  }
}

const processOptions = { states: 'mmpp', amplitude: 'diurnal', period: 'diurnal' } as const;

export function policyOf(name: string, deadlineMs: number): Policy {
  if (name === 'paper') return paperPolicy({ latencyBoundMs: deadlineMs });
  if (name === 'slack') return slackPolicy();
  return staticPolicy(Number(name.slice(staticPrefix.length)));
}

const staticPrefix = 'static-';

function parsePolicyName(text: string): string {
  if (text === 'paper' || text === 'slack') return text;
  if (text.startsWith(staticPrefix)) return `${staticPrefix}${parseLevel(text.slice(staticPrefix.length))}`;
  throw new InvalidArgumentError(`expected static-LEVEL, paper or slack, received "${text}".`);
}

function parseSizes(text: string): RequestSizes {
  if (!text.startsWith('lognormal')) {
    const tokens = text.split(',').map(parseCount);
    return tokens.length === 1 ? { kind: 'fixed', tokens: tokens[0]! } : { kind: 'list', tokens };
  }
  const [medianTokens, sigma] = parseParts(text.slice('lognormal:'.length), 'MEDIAN:SIGMA');
  return { kind: 'lognormal', medianTokens: medianTokens!, sigma: sigma! };
}

function parseStates(text: string): MmppState[] {
  const states = text.split(',').map((state) => {
    const [ratePerSecond, seconds] = parseParts(state, 'RATE:SECONDS');
    return { ratePerSecond: ratePerSecond!, meanDwellMs: seconds! * secondMs };
  });
  if (states.length >= 2) return states;
  throw new InvalidArgumentError(`expected at least two states, received "${text}".`);
}

function parseSlowPeriods(text: string): SlowPeriod[] {
  return text.split(',').map((period) => {
    const [begin, end, factor] = parseParts(period, 'BEGIN:END:FACTOR');
    return { beginMs: begin! * secondMs, endMs: end! * secondMs, factor: factor! };
  });
}

/** Numbers of at least 0, as many as the pattern has. */
function parseParts(text: string, pattern: string): number[] {
  const parts = text.split(':');
  const numbers = parts.map((part) => (part.trim() === '' ? NaN : Number(part)));
  const isRight = parts.length === pattern.split(':').length && numbers.every((n) => n >= 0 && n < Infinity);
  if (isRight) return numbers;
  throw new InvalidArgumentError(`expected ${pattern}, received "${text}".`);
}

function parseShare(text: string): number {
  const value = parsePositive(text);
  if (value <= 1) return value;
  throw new InvalidArgumentError(`expected a number up to 1, received "${text}".`);
}
