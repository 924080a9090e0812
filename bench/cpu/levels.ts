/** Part levels: each level's time beside level 1's and beside the share of its flops. */
import { ElasticModel } from '../../lib/index.js';
import { alternate, median, medianSpeedup } from '../timing.js';
import * as bar from './bars.js';
import { elasticMiniLm, withScratch } from './checkpoints.js';
import { pooledOptions } from './peers.js';
import { Bars, type Ratio } from './ratio.js';
import { makeBatch, shapeNames, shapes } from './shapes.js';
import type { RunChoice } from './speed.js';

interface LevelResult {
  shape: string;
  level: number;
  medianMs: number;
  /** flops of a 128-token forward over level 1's */
  computeFraction: number;
  /** time over level 1's, round by round */
  overLevelOne: Ratio;
}

interface LevelsRun {
  isa: string;
  rounds: number;
  levels: LevelResult[];
  missed: string[];
}

export function measureLevels({ precision, threads, rounds }: RunChoice): Promise<LevelsRun> {
  return withScratch(async (scratch) => {
    const directory = await elasticMiniLm(scratch);
    await using model = await ElasticModel.load(directory, { backend: 'cpu', precision, threads });
    const bars = new Bars();
    const results: LevelResult[] = [];
    for (const shape of shapeNames) {
      const batch = makeBatch(shapes[shape], model.config.vocabSize);
      const subjects = model.levels.map(
        ({ level }) =>
          () =>
            model.forward(batch, { ...pooledOptions, level }),
      );
      const { ms } = await alternate(subjects, rounds);
      for (const [i, { level, computeFraction }] of model.levels.entries()) {
        const barred = level < 1 && bar.levelShapes.includes(shape);
        const overLevelOne = bars.ratio(
          `${precision} ${shape}, ${threads} threads, level ${level}, time over level 1`,
          1 / medianSpeedup(ms[i]!, ms[0]!),
          barred ? { atMost: computeFraction + bar.levelMargins[precision] } : {},
        );
        results.push({ shape, level, medianMs: median(ms[i]!), computeFraction, overLevelOne });
      }
    }
    return { isa: model.info().isa, rounds, levels: results, missed: bars.missed };
  });
}
