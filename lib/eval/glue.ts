/** The classification and regression tasks of GLUE in their official file formats. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';
import { dataError, readTable, type Row } from './lines.js';

/** One example: a sentence or a pair, and its label (a position in the task's `labels`) or its score. */
export interface GlueExample {
  texts: string | readonly [string, string];
  target: number;
}

export type GlueTask = 'sst2' | 'mrpc' | 'cola' | 'rte' | 'qnli' | 'qqp' | 'mnli' | 'stsb';

export interface GlueFormat {
  /** the task's folder in a GLUE download */
  folder: string;
  /** file names of a split, the preferred one first */
  files: (split: string) => readonly string[];
  /** columns of a file without a header line */
  columns?: readonly string[];
  /** columns of the sentence or of the pair */
  texts: readonly [string] | readonly [string, string];
  /** column of the label or score */
  target: string;
  /** names of the labels by their official number; none for a score */
  labels?: readonly string[];
}

const ownName = (split: string): readonly string[] => [`${split}.tsv`];

export const glueFormats: Readonly<Record<GlueTask, GlueFormat>> = {
  sst2: {
    folder: 'SST-2',
    files: ownName,
    texts: ['sentence'],
    target: 'label',
    labels: ['negative', 'positive'],
  },
  mrpc: {
    folder: 'MRPC',
    // GLUE's own split is made from the corpus's training file; where it has not been made, the test file is the dev split
    files: (split) => [`${split}.tsv`, `msr_paraphrase_${split === 'dev' ? 'test' : split}.txt`],
    texts: ['#1 String', '#2 String'],
    target: 'Quality',
    labels: ['not_equivalent', 'equivalent'],
  },
  cola: {
    folder: 'CoLA',
    files: ownName,
    columns: ['source', 'label', 'mark', 'sentence'],
    texts: ['sentence'],
    target: 'label',
    labels: ['unacceptable', 'acceptable'],
  },
  rte: {
    folder: 'RTE',
    files: ownName,
    texts: ['sentence1', 'sentence2'],
    target: 'label',
    labels: ['entailment', 'not_entailment'],
  },
  qnli: {
    folder: 'QNLI',
    files: ownName,
    texts: ['question', 'sentence'],
    target: 'label',
    labels: ['entailment', 'not_entailment'],
  },
  qqp: {
    folder: 'QQP',
    files: ownName,
    texts: ['question1', 'question2'],
    target: 'is_duplicate',
    labels: ['not_duplicate', 'duplicate'],
  },
  mnli: {
    folder: 'MNLI',
    files: (split) => [`${split === 'dev' ? 'dev_matched' : split}.tsv`],
    texts: ['sentence1', 'sentence2'],
    target: 'gold_label',
    labels: ['entailment', 'neutral', 'contradiction'],
  },
  stsb: {
    folder: 'STS-B',
    files: ownName,
    texts: ['sentence1', 'sentence2'],
    target: 'score',
  },
};

/**
 * The examples of one split, streamed.
 * @param folder the task's own folder, or the folder of all GLUE tasks
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readGlue(task: GlueTask, folder: string, split = 'dev'): AsyncGenerator<GlueExample> {
  const format = glueFormats[task];
  const path = await findFile(format, folder, split);
  const table = {
    needs: [...format.texts, format.target],
    ...(format.columns === undefined ? {} : { columns: format.columns }),
  };
  for await (const row of readTable(path, table)) {
    const [first, second] = format.texts;
    yield {
      texts: second === undefined ? row.cell(first) : [row.cell(first), row.cell(second)],
      target: readTarget(row, format),
    };
  }
}

/** A score, or a label by its number or by its name. */
function readTarget(row: Row, format: GlueFormat): number {
  if (format.labels === undefined) return row.number(format.target);
  const cell = row.cell(format.target);
  const byName = format.labels.indexOf(cell);
  const label = byName >= 0 ? byName : row.number(format.target);
  if (Number.isInteger(label) && label >= 0 && label < format.labels.length) return label;
  throw dataError(
    row.place,
    `a label: ${format.labels.join(', ')}, or its number from 0`,
    JSON.stringify(cell),
  );
}

async function findFile(format: GlueFormat, folder: string, split: string): Promise<string> {
  const names = format.files(split);
  const paths = [
    ...names.map((name) => join(folder, name)),
    ...names.map((name) => join(folder, format.folder, name)),
  ];
  for (const path of paths) {
    if (await exists(path)) return path;
  }
  throw ElasticError.of('ELASTICLM_FILE_NOT_FOUND', {
    expected: `${names.join(' or ')}, there or in ${format.folder}/`,
    subject: folder,
    received: 'no such file',
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
