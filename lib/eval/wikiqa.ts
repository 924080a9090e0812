/** WikiQA: questions, each with candidate sentences of which some answer it. */
import { join } from 'node:path';
import { dataError, readTable } from './lines.js';

export interface WikiQaQuestion {
  question: string;
  candidates: { sentence: string; answers: boolean }[];
}

/**
 * The questions of `<folder>/<split>.tsv` (columns question, sentence, label) in the file's order; the rows of one question
 * follow each other.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readWikiQa(folder: string, split = 'dev'): AsyncGenerator<WikiQaQuestion> {
  let current: WikiQaQuestion | undefined;
  const needs = ['question', 'sentence', 'label'];
  for await (const row of readTable(join(folder, `${split}.tsv`), { needs })) {
    const question = row.cell('question');
    const label = row.number('label');
    if (label !== 0 && label !== 1) throw dataError(row.place, 'a label of 0 or 1', String(label));
    if (current?.question !== question) {
      if (current !== undefined) yield current;
      current = { question, candidates: [] };
    }
    current.candidates.push({ sentence: row.cell('sentence'), answers: label === 1 });
  }
  if (current !== undefined) yield current;
}
