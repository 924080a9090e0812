import { describe, expect, it } from 'vitest';
import type { RequestLog } from '../../../lib/index.js';
import {
  arrivals,
  CostModel,
  paperPolicy,
  rateAtLoad,
  simulate,
  slackPolicy,
  staticPolicy,
  summarize,
  timeSeries,
  withMeanRate,
  type ArrivalProcess,
  type CostCoefficients,
  type Summary,
} from '../../../lib/index.js';

const levels = [
  { level: 1, quality: 1 },
  { level: 0.5, quality: 0.95 },
  { level: 0.1, quality: 0.85 },
];
const coefficients: CostCoefficients = {
  batchMs: 0.2,
  levels: [1, 0.5, 0.1].map((level) => ({
    perSequenceMs: 0.05,
    perTokenMs: 0.1 * level,
    perTokenSquareMs: 5e-5 * level,
  })),
};
const sizes = { kind: 'fixed', tokens: 100 } as const;
const oneMs =
  new CostModel(coefficients).nominalMs(0, { sequences: 1, tokens: 100, tokenSquares: 1e4 }) + 0.2;

async function play(
  process: ArrivalProcess,
  options: Partial<Parameters<typeof simulate>[0]> = {},
): Promise<{ log: RequestLog; summary: Summary }> {
  const log = await simulate({
    arrivals: arrivals({ process, sizes, durationMs: 400_000, seed: 1 }),
    levels,
    coefficients,
    policy: staticPolicy(1),
    slo: { deadlineMs: 1e9 },
    ...options,
  });
  return { log, summary: (await summarize(log, levels)).summary };
}

describe('simulate()', () => {
  it.each([0.3, 0.6, 0.8])(
    'has the mean wait of M/D/1 at load %f (Pollaczek and Khinchine)',
    async (load) => {
      const { summary } = await play({ kind: 'poisson', ratePerSecond: (1000 * load) / oneMs });
      const expected = (load * oneMs) / (2 * (1 - load));
      // Some 10,000 services; waits of a busy period go together, a few dozen of them at load 0.8.
      const numPeriods = summary.offered * (1 - load);
      expect(Math.abs(summary.meanQueueDelayMs! / expected - 1)).toBeLessThan(8 / Math.sqrt(numPeriods));
      expect(summary.busyShare).toBeCloseTo(load, 1);
    },
  );

  it('is the same for the same seed, and another for another', async () => {
    const process = { kind: 'poisson', ratePerSecond: 90 } as const;
    const options = {
      policy: slackPolicy(),
      slo: { deadlineMs: 50 },
      truth: { noiseSigma: 0.2, noiseSeed: 3 },
    };
    const [first, second] = [await play(process, options), await play(process, options)];
    expect([...first.log]).toEqual([...second.log]);
    const other = await play(process, { ...options, truth: { noiseSigma: 0.2, noiseSeed: 4 } });
    expect(other.summary.latencyMs).not.toEqual(first.summary.latencyMs);
  });

  it.each([staticPolicy(1), paperPolicy({ latencyBoundMs: 60 }), slackPolicy()])(
    'accounts for every request, at most one batch at a time ($name)',
    async (policy) => {
      const process = withMeanRate(
        {
          kind: 'mmpp',
          states: [
            { ratePerSecond: 1, meanDwellMs: 4000 },
            { ratePerSecond: 5, meanDwellMs: 1000 },
          ],
        },
        rateAtLoad(2, sizes, new CostModel(coefficients)),
      );
      const { log, summary } = await play(process, {
        policy,
        slo: { deadlineMs: 60 },
        truth: { slowPeriods: [{ beginMs: 50_000, endMs: 60_000, factor: 2 }] },
      });
      const { offered, met, late, refused, expired, busyShare } = summary;
      expect(met + late + refused + expired).toBe(offered);
      expect(offered).toBe(log.count);
      expect(busyShare!).toBeLessThanOrEqual(1);
      let lastEndMs = 0;
      let lastStartMs = -1;
      const served = [...log].filter(({ levelIdx }) => levelIdx >= 0).sort((a, b) => a.startMs - b.startMs);
      for (const { arrivalMs, startMs, endMs, deadlineMs, outcome } of served) {
        expect(startMs).toBeGreaterThanOrEqual(arrivalMs);
        expect(outcome).toBe(endMs <= deadlineMs ? 'met' : 'late');
        if (startMs !== lastStartMs) expect(startMs).toBeGreaterThanOrEqual(lastEndMs);
        lastStartMs = startMs;
        lastEndMs = endMs;
      }
      const series = await timeSeries(log, levels, { windowMs: 1000 });
      const arrived = series.arrivalsPerSecond.reduce((sum, rate) => sum + rate, 0);
      expect(arrived).toBeCloseTo(offered, 6);
    },
  );

  it('keeps deadlines at twice and four times the capacity of the largest level, where that one collapses', async () => {
    const cost = new CostModel(coefficients);
    for (const load of [2, 4]) {
      const process = { kind: 'poisson', ratePerSecond: rateAtLoad(load, sizes, cost) } as const;
      const options = { slo: { deadlineMs: 80 }, truth: { noiseSigma: 0.1 } };
      const slack = await play(process, { ...options, policy: slackPolicy() });
      const fixed = await play(process, { ...options, policy: staticPolicy(1) });
      expect(slack.summary.attainmentOfOffered).toBeGreaterThan(0.99);
      expect(fixed.summary.attainmentOfOffered).toBeLessThan(0.3);
    }
  });

  it('learns that the machine has become slower, and keeps deadlines then too', async () => {
    const process = { kind: 'poisson', ratePerSecond: 1000 / oneMs } as const;
    const truth = { slowPeriods: [{ beginMs: 100_000, endMs: 300_000, factor: 2.5 }] };
    const { summary } = await play(process, { policy: slackPolicy(), slo: { deadlineMs: 80 }, truth });
    expect(summary.attainmentOfOffered).toBeGreaterThan(0.99);
  });
});

describe('arrivals()', () => {
  const count = (process: ArrivalProcess, seed = 1): number[] => {
    const perSecond = new Array<number>(1000).fill(0);
    for (const { arrivalMs } of arrivals({ process, sizes, durationMs: 1e6, seed })) {
      perSecond[Math.floor(arrivalMs / 1000)]! += 1;
    }
    return perSecond;
  };
  const meanOf = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const dispersion = (values: readonly number[]): number => {
    const mean = meanOf(values);
    return meanOf(values.map((value) => (value - mean) ** 2)) / mean;
  };

  it('comes at the rate of a Poisson process, with its dispersion of 1', () => {
    const perSecond = count({ kind: 'poisson', ratePerSecond: 50 });
    // five deviations: sqrt(50 / 1000), and sqrt(2 / 1000) for the ratio of variance and mean
    expect(Math.abs(meanOf(perSecond) - 50)).toBeLessThan(5 * Math.sqrt(50 / 1000));
    expect(Math.abs(dispersion(perSecond) - 1)).toBeLessThan(5 * Math.sqrt(2 / 1000));
  });

  it('comes in bursts from several states, at their mean rate', () => {
    const states = [
      { ratePerSecond: 20, meanDwellMs: 4000 },
      { ratePerSecond: 170, meanDwellMs: 1000 },
    ];
    const perSecond = count({ kind: 'mmpp', states });
    // 200 bursts of an exponential length: their sum is off by 1 / sqrt(200) in a deviation, three quarters of the mean come in them
    expect(Math.abs(meanOf(perSecond) / 50 - 1)).toBeLessThan((5 * 0.75) / Math.sqrt(200));
    expect(dispersion(perSecond)).toBeGreaterThan(10);
  });

  it('swings by day and night', () => {
    const perSecond = count({ kind: 'diurnal', ratePerSecond: 50, amplitude: 0.8, periodMs: 100_000 });
    const at = (phase: number): number => meanOf(perSecond.filter((_, second) => second % 100 === phase));
    expect(at(0)).toBeLessThan(20);
    expect(at(50)).toBeGreaterThan(75);
    expect(Math.abs(meanOf(perSecond) - 50)).toBeLessThan(5 * Math.sqrt(50 / 1000));
  });

  it('comes at equal distances', () => {
    expect(new Set(count({ kind: 'constant', ratePerSecond: 8 }).slice(1, -1))).toEqual(new Set([8]));
  });
});
