/**
 * What training the levels is worth: every level of a trained checkpoint beside the same levels of the one that was only cut, all
 * searching one index built at level 1. One run per trained checkpoint in docs/results/distillation.json:
 *
 *   npm run bench:distillation -- --cut runs/minilm-embedding/elastic --trained runs/minilm-embedding/distill/model
 *                                 [--static 0.5=runs/static-0.5/distill/model ...] [--name minilm-embedding]
 *                                 [--data ../shared/data] [--precision f32] [--out docs/results/distillation.json]
 *
 * A static SubLM is that level trained alone, with everything else as it was (`--set distill.levels=[0.5]`): its weights are no
 * use to other levels, so its queries search the index of the uncut model, which it was trained to search.
 *
 * The data is laid out as docs/results/README.md says; none of its dev and test queries may have been trained on. It ends with 1
 * when a bar is missed: shares are of the uncut model, which level 1 has to reach as well.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { evaluate, type EvaluationTask, type Precision } from '../lib/index.js';
import { Bars } from './cpu/ratio.js';
import { writeRun } from './record.js';

interface Measure {
  name: string;
  task: EvaluationTask;
  data: string;
  split?: string;
  metric: string;
}

const measures: readonly Measure[] = [
  { name: 'scifact', task: 'retrieval', data: 'scifact', metric: 'ndcg@10' },
  { name: 'cranfield', task: 'retrieval', data: 'cranfield', metric: 'ndcg@10' },
  { name: 'mdn', task: 'retrieval', data: 'mdn', split: 'dev', metric: 'ndcg@10' },
  { name: 'stsb', task: 'sts', data: 'glue', metric: 'spearman' },
];
/** Least share of what the uncut model reaches. */
const retainedBars: Readonly<Record<number, number>> = { 1: 0.99, 0.5: 0.97, 0.3: 0.94, 0.1: 0.85 };
/** Points (of 100) that a static SubLM may be better by. */
const staticBars: Readonly<Record<number, number>> = { 0.5: 1.5, 0.1: 1.5 };
/** As in the acceptance run `retrieval`. */
const maxLength = 256;

const { values } = parseArgs({
  options: {
    cut: { type: 'string' },
    trained: { type: 'string' },
    static: { type: 'string', multiple: true, default: [] },
    name: { type: 'string', default: 'minilm-embedding' },
    data: { type: 'string', default: '../shared/data' },
    precision: { type: 'string', default: 'f32' },
    out: { type: 'string', default: 'docs/results/distillation.json' },
  },
});

/** What is measured of a model beside all its levels against its own index of level 1. */
interface Alone {
  level: number;
  /** folder of what encodes the documents */
  indexModel: string;
}

/** The metric by level. */
async function measure(
  model: string,
  { task, data, split, metric }: Measure,
  alone?: Alone,
): Promise<Map<number, number>> {
  const isSearch = task === 'retrieval';
  const results = evaluate({
    model,
    task,
    data: join(values.data, data),
    levels: alone === undefined ? 'all' : [alone.level],
    maxLength,
    backend: 'cpu',
    precision: values.precision as Precision,
    ...(isSearch ? { indexLevel: 1 } : {}),
    ...(isSearch && alone !== undefined ? { indexModel: alone.indexModel } : {}),
    ...(split === undefined ? {} : { split }),
  });
  const byLevel = new Map<number, number>();
  for await (const result of results) {
    const value: unknown = (result as unknown as Record<string, unknown>)[metric];
    if (typeof value !== 'number') throw new Error(`${task} gives no number ${metric}`);
    byLevel.set(result.level, value);
  }
  return byLevel;
}

const { cut, trained } = values;
if (cut === undefined || trained === undefined) throw new Error('expected --cut FOLDER and --trained FOLDER');
const statics = values.static.map((text) => {
  const [level, folder] = text.split('=');
  if (folder === undefined) throw new Error(`expected LEVEL=FOLDER for --static, received ${text}`);
  return { level: Number(level), folder };
});
const bars = new Bars();
const quality: object[] = [];
const besideStatics: object[] = [];
for (const one of measures) {
  const before = await measure(cut, one);
  const after = await measure(trained, one);
  const uncut = before.get(1);
  if (uncut === undefined) throw new Error(`${cut} has no level 1`);
  for (const [level, value] of after) {
    const least = retainedBars[level];
    quality.push({
      measure: one.name,
      metric: one.metric,
      level,
      cut: before.get(level),
      trained: value,
      retained: bars.ratio(
        `${one.name}, level ${level}: ${value.toFixed(4)} (cut: ${before.get(level)?.toFixed(4)}), share of the uncut model`,
        value / uncut,
        least === undefined ? {} : { atLeast: least },
      ),
    });
  }
  for (const { level, folder } of statics) {
    const value = (await measure(folder, one, { level, indexModel: cut })).get(level);
    const elastic = after.get(level);
    if (value === undefined || elastic === undefined) throw new Error(`no level ${level}`);
    const most = staticBars[level];
    besideStatics.push({
      measure: one.name,
      metric: one.metric,
      level,
      static: value,
      elastic,
      pointsBetter: bars.ratio(
        `${one.name}, level ${level} trained alone: ${value.toFixed(4)}, points above the elastic one`,
        100 * (value - elastic),
        most === undefined ? {} : { atMost: most },
      ),
    });
  }
}
writeRun(
  values.out,
  { name: values.name },
  {
    precision: values.precision,
    maxLength,
    indexLevel: 1,
    quality,
    statics: besideStatics,
    missed: bars.missed,
  },
);
if (bars.missed.length > 0) process.exitCode = 1;
