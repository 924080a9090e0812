/** Any task by its name: loads the head that it needs, runs it, closes it. */
import { describeValue, ElasticError } from '../errors.js';
import { ElasticClassifier, ElasticDenser, ElasticRanker } from '../heads/index.js';
import type { Backend, Precision } from '../types.js';
import { evaluateAnswers, type AnswerResult } from './evaluate-answers.js';
import {
  evaluateLabels,
  evaluateRegression,
  evaluateSts,
  type CorrelationResult,
  type TaskResult,
} from './evaluate-glue.js';
import {
  evaluateMsMarco,
  evaluateMsMarcoRerank,
  type MsMarcoRerankResult,
  type MsMarcoResult,
} from './evaluate-msmarco.js';
import { evaluateRetrieval, type RetrievalResult } from './evaluate-retrieval.js';
import { evaluateWikiQa, type WikiQaResult } from './evaluate-wikiqa.js';
import type { LevelChoice } from './task-options.js';

/** Tasks that search a collection. */
const collectionTasks = ['retrieval', 'nq', 'triviaqa', 'msmarco'] as const;

export const evaluationTasks = [
  ...collectionTasks,
  'msmarco-rerank',
  'wikiqa',
  'sts',
  'stsb',
  'sst2',
  'mrpc',
  'cola',
  'rte',
  'qnli',
  'qqp',
  'mnli',
] as const;

export type EvaluationTask = (typeof evaluationTasks)[number];

export interface EvaluateOptions {
  /** folder of the checkpoint */
  model: string;
  task: EvaluationTask;
  /** folder of the task's files as published, see docs/evaluation.md */
  data: string;
  /** default test for retrieval, nq and triviaqa, dev.small for msmarco, dev for the others */
  split?: string;
  /** default all */
  levels?: LevelChoice;
  /** for tasks that search a collection: level of the documents' vectors; default each query level's own, with `indexModel` 1 */
  indexLevel?: number;
  /** for the same tasks: folder of the checkpoint that encodes the documents; default `model` */
  indexModel?: string;
  maxLength?: number;
  /** where and in what to run, as for ElasticModel.load() */
  backend?: Backend;
  precision?: Precision;
  device?: number;
  threads?: number;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

export type EvaluationResult =
  | RetrievalResult
  | AnswerResult
  | MsMarcoResult
  | MsMarcoRerankResult
  | WikiQaResult
  | CorrelationResult
  | TaskResult;

/** One result per level, as soon as it is known. @throws what the task's reader and head throw */
export async function* evaluate(options: EvaluateOptions): AsyncGenerator<EvaluationResult> {
  const { model, task, backend, precision, device, threads, indexLevel, indexModel, ...rest } = options;
  const load = {
    ...(backend === undefined ? {} : { backend }),
    ...(precision === undefined ? {} : { precision }),
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
  };
  for (const [name, value] of Object.entries({ indexLevel, indexModel })) {
    if (value === undefined || collectionTasks.some((known) => known === task)) continue;
    throw invalid(name, `none but for the tasks ${collectionTasks.join(', ')}`, value);
  }
  await using indexing = indexModel === undefined ? undefined : await ElasticDenser.load(indexModel, load);
  const index = { indexLevel, indexDenser: indexing };
  switch (task) {
    case 'retrieval': {
      await using denser = await ElasticDenser.load(model, load);
      yield* evaluateRetrieval({ denser, ...index, ...rest });
      return;
    }
    case 'nq':
    case 'triviaqa': {
      await using denser = await ElasticDenser.load(model, load);
      yield* evaluateAnswers({ task, denser, ...index, ...rest });
      return;
    }
    case 'msmarco': {
      await using denser = await ElasticDenser.load(model, load);
      yield* evaluateMsMarco({ denser, ...index, ...rest });
      return;
    }
    case 'msmarco-rerank': {
      await using ranker = await ElasticRanker.load(model, load);
      yield* evaluateMsMarcoRerank({ ranker, ...rest });
      return;
    }
    case 'wikiqa': {
      await using ranker = await ElasticRanker.load(model, load);
      yield* evaluateWikiQa({ ranker, ...rest });
      return;
    }
    case 'sts': {
      await using denser = await ElasticDenser.load(model, load);
      yield* evaluateSts({ denser, ...rest });
      return;
    }
    case 'stsb': {
      await using ranker = await ElasticRanker.load(model, load);
      yield* evaluateRegression({ ranker, ...rest });
      return;
    }
    case 'sst2':
    case 'mrpc':
    case 'cola':
    case 'rte':
    case 'qnli':
    case 'qqp':
    case 'mnli': {
      await using classifier = await ElasticClassifier.load(model, load);
      yield* evaluateLabels({ task, classifier, ...rest });
      return;
    }
    default:
      throw invalid('task', `one of ${evaluationTasks.join(', ')}`, task);
  }
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject,
    received: describeValue(received),
  });
}
