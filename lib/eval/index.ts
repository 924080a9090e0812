/** Tasks, their files and their official metrics. */
export { evaluate, evaluationTasks } from './evaluate.js';
export type { EvaluateOptions, EvaluationResult, EvaluationTask } from './evaluate.js';
export { evaluateRetrieval } from './evaluate-retrieval.js';
export type { RetrievalOptions, RetrievalResult } from './evaluate-retrieval.js';
export { evaluateAnswers } from './evaluate-answers.js';
export type { AnswerOptions, AnswerResult } from './evaluate-answers.js';
export { evaluateMsMarco, evaluateMsMarcoRerank } from './evaluate-msmarco.js';
export type {
  MsMarcoOptions,
  MsMarcoRerankOptions,
  MsMarcoRerankResult,
  MsMarcoResult,
} from './evaluate-msmarco.js';
export { evaluateLabels, evaluateRegression, evaluateSts } from './evaluate-glue.js';
export type {
  CorrelationResult,
  LabelOptions,
  RegressionOptions,
  StsOptions,
  TaskResult,
} from './evaluate-glue.js';
export { evaluateWikiQa } from './evaluate-wikiqa.js';
export type { WikiQaOptions, WikiQaResult } from './evaluate-wikiqa.js';
export type { CollectionTaskOptions, LevelChoice, TaskOptions } from './task-options.js';
export { documentText, readBeirCorpus, readBeirQrels, readBeirQueries } from './beir.js';
export type { BeirDocument, BeirQuery } from './beir.js';
export { readGlue } from './glue.js';
export type { GlueExample, GlueTask, LabelTask } from './glue.js';
export { readWikiQa } from './wikiqa.js';
export type { WikiQaQuestion } from './wikiqa.js';
export { readPassages } from './passages.js';
export type { Passage } from './passages.js';
export { readQuestions } from './questions.js';
export type { AnswerTask, OpenQuestion } from './questions.js';
export {
  readMsMarcoCandidates,
  readMsMarcoCollection,
  readMsMarcoQrels,
  readMsMarcoQueries,
} from './msmarco.js';
export type { MsMarcoCandidate, MsMarcoPassage } from './msmarco.js';
export { hasAnswer, matchable } from './answers.js';
export { averagePrecision, ndcgAt, rankRun, recallAt, reciprocalRankAt } from './ranking-metrics.js';
export type { Judgments, Qrels, ScoredDocument } from './ranking-metrics.js';
export { accuracy, f1, matthews } from './label-metrics.js';
export { pearson, spearman } from './correlation.js';
