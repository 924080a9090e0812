/** NQ and TriviaQA by retrieval: how often one of the best passages holds an answer, level by level. */
import { hasAnswer, matchable } from './answers.js';
import { documentText } from './beir.js';
import { readPassages, type Passage } from './passages.js';
import { readQuestions, type AnswerTask } from './questions.js';
import { mean } from './ranking-metrics.js';
import { planPasses, searchCollection } from './search-collection.js';
import { checkSome } from './streams.js';
import type { CollectionTaskOptions } from './task-options.js';

/** `data` is a folder with the passages and the questions; `split` by default test. */
export interface AnswerOptions extends CollectionTaskOptions {
  task: AnswerTask;
}

export interface AnswerResult {
  task: AnswerTask;
  level: number;
  indexLevel: number;
  /** questions, which the shares are of */
  queries: number;
  /** share of the questions with an answer in one of the best 20 passages, DPR's top-20 accuracy */
  'answerRecall@20': number;
  /** likewise of the best 100 */
  'answerRecall@100': number;
  /** of encoding the passages at `indexLevel` */
  documentsPerSecond: number;
  tokensPerSecond: number;
}

const retrieved = 100;

/**
 * One result per level. Passages are encoded as "title text"; an answer counts where the passage's text holds it.
 * @throws as evaluateRetrieval
 */
export async function* evaluateAnswers(options: AnswerOptions): AsyncGenerator<AnswerResult> {
  const { task, data } = options;
  const passes = planPasses(options);
  const questions: string[] = [];
  /** of each question, as matching reads them */
  const answers: string[][] = [];
  for await (const { question, answers: own } of readQuestions(task, data, options.split)) {
    questions.push(question);
    answers.push(own.map(matchable));
  }
  checkSome(questions.length, 'question', data);
  const levels = searchCollection(options, {
    passes,
    documents: () => readPassages(data),
    textOf: documentText,
    queries: questions,
    topK: retrieved,
    keep: (part) => {
      const matchables = new MatchablePart(part);
      return (query, position) => Number(hasAnswer(matchables.at(position), answers[query]!));
    },
  });
  for await (const { level, indexLevel, hits, documentsPerSecond, tokensPerSecond } of levels) {
    const answered = (k: number): number =>
      mean(questions.map((_, query) => Number(hits.values(query).subarray(0, k).includes(1))));
    yield {
      task,
      level,
      indexLevel,
      queries: questions.length,
      'answerRecall@20': answered(20),
      'answerRecall@100': answered(retrieved),
      documentsPerSecond,
      tokensPerSecond,
    };
  }
}

/** Passages as matching reads them, made when first asked for: most are found by several questions, or by none. */
class MatchablePart {
  readonly #part: readonly Passage[];
  readonly #texts: string[] = [];

  constructor(part: readonly Passage[]) {
    this.#part = part;
  }

  at(position: number): string {
    return (this.#texts[position] ??= matchable(this.#part[position]!.text));
  }
}
