/**
 * What training the levels is worth: every level of a trained checkpoint beside the same levels of the one that was only cut, all
 * searching one index built at level 1. One run per trained checkpoint in docs/results/distillation.json:
 *
 *   npm run bench:distillation -- --cut runs/minilm-embedding/elastic --trained runs/minilm-embedding/distill/model
 *                                 [--name minilm-embedding] [--data ../shared/data] [--precision f32]
 *                                 [--out docs/results/distillation.json]
 *
 * The data is laid out as docs/results/README.md says; none of its dev and test queries may have been trained on. It ends with
 * 1 when a bar is missed.
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
/** As in the acceptance run `retrieval`. */
const maxLength = 256;

const { values } = parseArgs({
  options: {
    cut: { type: 'string' },
    trained: { type: 'string' },
    name: { type: 'string', default: 'minilm-embedding' },
    data: { type: 'string', default: '../shared/data' },
    precision: { type: 'string', default: 'f32' },
    out: { type: 'string', default: 'docs/results/distillation.json' },
  },
});

/** The metric by level. */
async function measure(model: string, { task, data, split, metric }: Measure): Promise<Map<number, number>> {
  const results = evaluate({
    model,
    task,
    data: join(values.data, data),
    levels: 'all',
    maxLength,
    backend: 'cpu',
    precision: values.precision as Precision,
    ...(task === 'retrieval' ? { indexLevel: 1 } : {}),
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
const bars = new Bars();
const quality: object[] = [];
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
}
writeRun(
  values.out,
  { name: values.name },
  { precision: values.precision, maxLength, indexLevel: 1, quality, missed: bars.missed },
);
if (bars.missed.length > 0) process.exitCode = 1;
