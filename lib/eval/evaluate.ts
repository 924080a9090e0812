/** Any task by its name: loads the head that it needs, runs it, closes it. */
import { describeValue, ElasticError } from '../errors.js';
import { ElasticClassifier, ElasticDenser, ElasticRanker } from '../heads/index.js';
import { evaluateLabels, evaluateRegression, type TaskResult } from './evaluate-labels.js';
import { evaluateRetrieval, type RetrievalResult } from './evaluate-retrieval.js';
import { evaluateSts, type StsResult } from './evaluate-sts.js';
import { evaluateWikiQa, type WikiQaResult } from './evaluate-wikiqa.js';
import type { Backend, Precision } from '../types.js';
import type { LevelChoice } from './levels.js';

export const evaluationTasks = [
  'retrieval',
  'sts',
  'stsb',
  'sst2',
  'mrpc',
  'cola',
  'rte',
  'qnli',
  'qqp',
  'mnli',
  'wikiqa',
] as const;

export type EvaluationTask = (typeof evaluationTasks)[number];

export interface EvaluateOptions {
  /** folder of the checkpoint */
  model: string;
  task: EvaluationTask;
  /** folder of the task's files as published (BEIR layout for retrieval) */
  data: string;
  /** default test for retrieval, dev for the others */
  split?: string;
  /** default all */
  levels?: LevelChoice;
  /** for retrieval: level of the documents' vectors; default each query level's own */
  indexLevel?: number;
  maxLength?: number;
  /** where and in what to run, as for ElasticModel.load() */
  backend?: Backend;
  precision?: Precision;
  device?: number;
  threads?: number;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

export type EvaluationResult = RetrievalResult | StsResult | WikiQaResult | TaskResult;

/** One result per level, as soon as it is known. @throws what the task's reader and head throw */
export async function* evaluate(options: EvaluateOptions): AsyncGenerator<EvaluationResult> {
  const { model, task, backend, precision, device, threads, indexLevel, ...rest } = options;
  const load = {
    ...(backend === undefined ? {} : { backend }),
    ...(precision === undefined ? {} : { precision }),
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
  };
  if (indexLevel !== undefined && task !== 'retrieval') {
    throw invalid('indexLevel', 'none but for the task retrieval', indexLevel);
  }
  switch (task) {
    case 'retrieval': {
      await using denser = await ElasticDenser.load(model, load);
      yield* evaluateRetrieval({ denser, indexLevel, ...rest });
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
    case 'wikiqa': {
      await using ranker = await ElasticRanker.load(model, load);
      yield* evaluateWikiQa({ ranker, ...rest });
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
