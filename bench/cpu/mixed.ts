/** Part mixed: batches whose sequences run at different levels. */
import { ElasticModel, type Level } from '../../lib/index.js';
import { Random } from '../../test/support/random.js';
import { alternate, median, medianSpeedup } from '../timing.js';
import * as bar from './bars.js';
import { elasticMiniLm, withScratch } from './checkpoints.js';
import { pooledOptions } from './peers.js';
import { Bars, type Ratio } from './ratio.js';
import { batchFlops, makeBatch, raggedLengths } from './shapes.js';
import type { RunChoice } from './speed.js';

interface RaggedResult {
  seed: number;
  /** [32] of the sequences of 8 to 128 tokens */
  levels: number[];
  medianMs: number;
  /** median of what the sequences cost in same-level batches */
  separateMs: number;
  /** time over separate time, round by round */
  overSeparate: Ratio;
}

interface ShortResult {
  /** of each of the sequences, one per level */
  tokens: number;
  medianMs: number;
  /** of one forward per level, one after another */
  separateMs: number;
  speedup: Ratio;
}

interface MixedRun {
  isa: string;
  rounds: number;
  ragged: RaggedResult[];
  short: ShortResult[];
  missed: string[];
}

const seeds = [1, 2, 3];
const shortTokens = [2, 4, 8];

export function measureMixed({ precision, threads, rounds }: RunChoice): Promise<MixedRun> {
  return withScratch(async (scratch) => {
    const directory = await elasticMiniLm(scratch);
    await using model = await ElasticModel.load(directory, { backend: 'cpu', precision, threads });
    const bars = new Bars();
    const what = `${precision}, ${threads} threads`;
    const ragged = await measureRagged(model, rounds, (seed, value) =>
      bars.ratio(`${what}, ragged levels of seed ${seed}, time over same-level batches`, value, {
        atMost: bar.mixedOverSeparate,
      }),
    );
    const short = await measureShort(model, rounds, (tokens, value) =>
      bars.ratio(`${what}, ${tokens} tokens per level, one forward per level over one batch`, value, {
        atLeast: bar.shortMixedSpeedup,
      }),
    );
    return { isa: model.info().isa, rounds, ragged, short, missed: bars.missed };
  });
}

/**
 * A sequence's cost in a same-level batch: its share, by flops, of the time that the same 32 lengths take when all of them
 * run at its level.
 */
async function measureRagged(
  model: ElasticModel,
  rounds: number,
  judge: (seed: number, value: number) => Ratio,
): Promise<RaggedResult[]> {
  const batch = makeBatch(raggedLengths, model.config.vocabSize);
  const mixes = seeds.map((seed) => {
    const random = new Random(seed);
    return raggedLengths.map(() => random.pick(model.levels));
  });
  const { ms } = await alternate(
    [
      ...mixes.map(
        (mix) => () => model.forward(batch, { ...pooledOptions, level: mix.map(({ level }) => level) }),
      ),
      ...model.levels.map(
        ({ level }) =>
          () =>
            model.forward(batch, { ...pooledOptions, level }),
      ),
    ],
    rounds,
  );
  const levelMs = ms.slice(mixes.length);
  return mixes.map((mix, m) => {
    const shares = model.levels.map((level) => shareOf(model, level, mix));
    const separate = Array.from({ length: rounds }, (_, round) =>
      shares.reduce((sum, share, l) => sum + share * levelMs[l]![round]!, 0),
    );
    const seed = seeds[m]!;
    return {
      seed,
      levels: mix.map(({ level }) => level),
      medianMs: median(ms[m]!),
      separateMs: median(separate),
      overSeparate: judge(seed, 1 / medianSpeedup(ms[m]!, separate)),
    };
  });
}

/** Flops of the mix's sequences of a level over those of all 32 at that level. */
function shareOf(model: ElasticModel, level: Level, mix: readonly Level[]): number {
  const lengths = raggedLengths.filter((_, s) => mix[s] === level);
  return batchFlops(model.config, level, lengths) / batchFlops(model.config, level, raggedLengths);
}

async function measureShort(
  model: ElasticModel,
  rounds: number,
  judge: (tokens: number, value: number) => Ratio,
): Promise<ShortResult[]> {
  const results: ShortResult[] = [];
  const levels = model.levels.map(({ level }) => level);
  for (const tokens of shortTokens) {
    const together = makeBatch(new Array<number>(levels.length).fill(tokens), model.config.vocabSize);
    const alone = makeBatch([tokens], model.config.vocabSize);
    const { ms } = await alternate(
      [
        () => model.forward(together, { ...pooledOptions, level: levels }),
        async () => {
          for (const level of levels) await model.forward(alone, { ...pooledOptions, level });
        },
      ],
      rounds,
    );
    const [mixedMs, separateMs] = ms as [number[], number[]];
    results.push({
      tokens,
      medianMs: median(mixedMs),
      separateMs: median(separateMs),
      speedup: judge(tokens, medianSpeedup(mixedMs, separateMs)),
    });
  }
  return results;
}
