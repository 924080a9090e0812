/** WikiQA: questions, each with candidate sentences of which some answer it. */
import { basename } from 'node:path';
import { findDataFile } from './data-files.js';
import { dataError } from './lines.js';
import { readTable } from './tables.js';

export interface WikiQaQuestion {
  question: string;
  candidates: { sentence: string; answers: boolean }[];
}

/** The columns of a file by the beginning of its name. */
const layouts = [
  { prefix: '', question: 'question', sentence: 'sentence', label: 'label' },
  { prefix: 'WikiQA-', question: 'Question', sentence: 'Sentence', label: 'Label' },
] as const;

/**
 * The questions of `<folder>/<split>.tsv` (columns question, sentence, label) or of the official `WikiQA-<split>.tsv`, in the
 * file's order; the rows of one question follow each other.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readWikiQa(folder: string, split = 'dev'): AsyncGenerator<WikiQaQuestion> {
  const names = layouts.map(({ prefix }) => `${prefix}${split}.tsv`);
  const path = await findDataFile({ folder, names });
  const columns = layouts[names.indexOf(basename(path, '.gz'))]!;
  let current: WikiQaQuestion | undefined;
  const needs = [columns.question, columns.sentence, columns.label];
  for await (const row of readTable(path, { needs })) {
    const question = row.cell(columns.question);
    const label = row.number(columns.label);
    if (label !== 0 && label !== 1) throw dataError(row.place, 'a label of 0 or 1', String(label));
    if (current?.question !== question) {
      if (current !== undefined) yield current;
      current = { question, candidates: [] };
    }
    current.candidates.push({ sentence: row.cell(columns.sentence), answers: label === 1 });
  }
  if (current !== undefined) yield current;
}
