/** The classification and regression tasks of GLUE: their official files, labels and metrics. */
import { pearson, spearman } from './correlation.js';
import { findDataFile } from './data-files.js';
import { accuracy, f1, matthews } from './label-metrics.js';
import { dataError } from './lines.js';
import { checkSome } from './streams.js';
import { readTable, type Row, type TableFormat } from './tables.js';

/** One example: a sentence or a pair, and its label (a position in the task's `labels`) or its score. */
export interface GlueExample {
  texts: string | readonly [string, string];
  target: number;
}

/** Tasks with labels. */
export type LabelTask = 'sst2' | 'mrpc' | 'cola' | 'rte' | 'qnli' | 'qqp' | 'mnli';
/** Tasks with scores. */
export type ScoreTask = 'stsb';
export type GlueTask = LabelTask | ScoreTask;

/** @param predicted [n] labels or scores; `targets` [n] likewise */
type Metric = (predicted: ArrayLike<number>, targets: ArrayLike<number>) => number;

/** Examples of a split that have metrics of their own. */
interface ExampleSet {
  /** the split that they are by themselves */
  split: string;
  /** put behind the names of their metrics */
  suffix: string;
}

interface GlueFormat {
  /** the task's folder in a GLUE download */
  folder: string;
  /** columns of the sentence or of the pair */
  texts: readonly [string] | readonly [string, string];
  /** column of the label or score */
  target: string;
  /** names of the labels by their official number; none for a score */
  labels: readonly string[];
  /** the official ones by their names in a result */
  metrics: Readonly<Record<string, Metric>>;
  /** columns of a file without a header line */
  columns?: readonly string[];
  /** the file of a split where its name is another than `<split>.tsv` */
  otherName?: (split: string) => string;
  /** splits that are evaluated set by set */
  sets?: Readonly<Record<string, readonly ExampleSet[]>>;
  skipsBrokenRows?: boolean;
}

const entailment = {
  texts: ['sentence1', 'sentence2'],
  target: 'label',
  labels: ['entailment', 'not_entailment'],
  metrics: { accuracy },
} as const;

export const glueFormats: Readonly<Record<GlueTask, GlueFormat>> = {
  sst2: {
    folder: 'SST-2',
    texts: ['sentence'],
    target: 'label',
    labels: ['negative', 'positive'],
    metrics: { accuracy },
  },
  mrpc: {
    folder: 'MRPC',
    texts: ['#1 String', '#2 String'],
    target: 'Quality',
    labels: ['not_equivalent', 'equivalent'],
    metrics: { accuracy, f1 },
    // GLUE's own split is made from the corpus's training file; where it has not been made, the test file is the dev split
    otherName: (split) => `msr_paraphrase_${split === 'dev' ? 'test' : split}.txt`,
  },
  cola: {
    folder: 'CoLA',
    texts: ['sentence'],
    target: 'label',
    labels: ['unacceptable', 'acceptable'],
    metrics: { matthews },
    columns: ['source', 'label', 'mark', 'sentence'],
  },
  rte: { ...entailment, folder: 'RTE' },
  qnli: { ...entailment, folder: 'QNLI', texts: ['question', 'sentence'] },
  qqp: {
    folder: 'QQP',
    texts: ['question1', 'question2'],
    target: 'is_duplicate',
    labels: ['not_duplicate', 'duplicate'],
    metrics: { accuracy, f1 },
    // a few rows of the official files are broken; the readers that published results come from leave them out too
    skipsBrokenRows: true,
  },
  mnli: {
    ...entailment,
    folder: 'MNLI',
    target: 'gold_label',
    labels: ['entailment', 'neutral', 'contradiction'],
    otherName: (split) => `${split}_matched.tsv`,
    sets: {
      dev: [
        { split: 'dev_matched', suffix: '' },
        { split: 'dev_mismatched', suffix: 'Mismatched' },
      ],
    },
  },
  stsb: {
    ...entailment,
    folder: 'STS-B',
    target: 'score',
    labels: [],
    metrics: { pearson, spearman },
  },
};

/**
 * The examples of one split, streamed: of MNLI's dev the matched ones.
 * @param folder the task's own folder, or the folder of all GLUE tasks
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readGlue(task: GlueTask, folder: string, split = 'dev'): AsyncGenerator<GlueExample> {
  const format = glueFormats[task];
  const { texts, target, otherName } = format;
  const names = [`${split}.tsv`, ...(otherName === undefined ? [] : [otherName(split)])];
  const path = await findDataFile({ folder, names, subfolder: format.folder });
  const [first, second] = texts;
  for await (const row of readTable(path, tableFormat(format))) {
    yield {
      texts: second === undefined ? row.cell(first) : [row.cell(first), row.cell(second)],
      target: format.labels.length === 0 ? row.number(target) : readLabel(row, format),
    };
  }
}

function tableFormat({ columns, texts, target, skipsBrokenRows = false }: GlueFormat): TableFormat {
  const source = columns === undefined ? { needs: [...texts, target] } : { columns };
  return { ...source, skipsBrokenRows };
}

/** A label by its number or by its name. */
function readLabel(row: Row, { target, labels }: GlueFormat): number {
  const cell = row.cell(target);
  const byName = labels.indexOf(cell);
  const label = byName >= 0 || cell.trim() === '' ? byName : Number(cell);
  if (Number.isInteger(label) && label >= 0 && label < labels.length) return label;
  throw dataError(row.place, `a label: ${labels.join(', ')}, or its number from 0`, JSON.stringify(cell));
}

/** Examples of a split in memory, as heads take them. */
export interface GlueSet {
  /** put behind the names of their metrics */
  suffix: string;
  /** [n] */
  texts: (string | readonly [string, string])[];
  /** [n] */
  targets: number[];
}

/** The sets of examples that a split is evaluated on: one, but for MNLI's dev. @throws as readGlue */
export async function readGlueSets(task: GlueTask, folder: string, split = 'dev'): Promise<GlueSet[]> {
  const sets = glueFormats[task].sets?.[split] ?? [{ split, suffix: '' }];
  const read: GlueSet[] = [];
  for (const { split: own, suffix } of sets) {
    const set: GlueSet = { suffix, texts: [], targets: [] };
    for await (const { texts, target } of readGlue(task, folder, own)) {
      set.texts.push(texts);
      set.targets.push(target);
    }
    checkSome(set.texts.length, `example of ${own}`, folder);
    read.push(set);
  }
  return read;
}

/** The task's official metrics of one set by their names. */
export function glueMetrics(
  task: GlueTask,
  { suffix, targets }: GlueSet,
  predicted: ArrayLike<number>,
): Record<string, number> {
  const metrics = Object.entries(glueFormats[task].metrics);
  return Object.fromEntries(metrics.map(([name, metric]) => [name + suffix, metric(predicted, targets)]));
}
