/** Open-domain questions with their answers: NQ-open and TriviaQA in the formats they are published in, and as DPR has them. */
import { findDataFile } from './data-files.js';
import { readJsonArray } from './json-array.js';
import {
  dataError,
  isStrings,
  objectField,
  readJsonLines,
  stringField,
  stringsField,
  type JsonRecord,
  type Place,
} from './lines.js';
import { readPythonStrings } from './python-strings.js';
import { readTable } from './tables.js';

/** Tasks whose questions are answered by passages. */
export type AnswerTask = 'nq' | 'triviaqa';

export interface OpenQuestion {
  question: string;
  /** at least one */
  answers: string[];
}

/** File names of a split, the preferred one first: DPR's, then those of the data set itself. */
const fileNames: Readonly<Record<AnswerTask, (split: string) => readonly string[]>> = {
  nq: (split) => [
    ...tableNames('nq', split),
    `NQ-open.${split}.jsonl`,
    `NQ-open.efficientqa.${split}.1.1.jsonl`,
  ],
  triviaqa: (split) => [
    ...tableNames('trivia', split),
    `unfiltered-web-${split}.json`,
    `unfiltered-web-${split}.jsonl`,
  ],
};

function tableNames(name: string, split: string): string[] {
  return [`${name}-${split}.qa.csv`, `${name}-${split}.csv`, `${name}-${split}.tsv`];
}

/**
 * The questions of one split, streamed; the file's format follows from its name.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readQuestions(
  task: AnswerTask,
  folder: string,
  split = 'test',
): AsyncGenerator<OpenQuestion> {
  const path = await findDataFile({ folder, names: fileNames[task](split) });
  const format = /\.(json|jsonl)(\.gz)?$/.exec(path)?.[1];
  if (format !== undefined) {
    const records = format === 'json' ? readJsonArray(path, 'Data') : readJsonLines(path);
    for await (const record of records) {
      yield task === 'nq' ? nqQuestion(record) : triviaQuestion(record);
    }
    return;
  }
  for await (const row of readTable(path, { columns: ['question', 'answers'], quoted: true })) {
    yield { question: row.cell('question'), answers: listedAnswers(row.cell('answers'), row.place) };
  }
}

/** NQ-open: `question` and a list `answer`. */
function nqQuestion(record: JsonRecord): OpenQuestion {
  return { question: stringField(record, 'question'), answers: stringsField(record, 'answer') };
}

/** TriviaQA: `Question`, and `Answer` with a `Value` and its `Aliases`; all of them count, as in DPR's files. */
function triviaQuestion(record: JsonRecord): OpenQuestion {
  const answer = objectField(record, 'Answer');
  const answers = new Set([stringField(answer, 'Value'), ...stringsField(answer, 'Aliases')]);
  return { question: stringField(record, 'Question'), answers: [...answers] };
}

/** DPR's tables hold the list of answers as Python or JSON writes it. */
function listedAnswers(cell: string, place: Place): string[] {
  const answers = readPythonStrings(cell);
  if (isStrings(answers)) return answers;
  throw dataError(
    place,
    'a list of at least one answer, such as ["Paris"]',
    JSON.stringify(cell.slice(0, 40)),
  );
}
