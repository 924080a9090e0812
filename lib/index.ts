/** ElasticLM: one encoder, loaded once, served at every level. */
export { ElasticError, errorCodes } from './errors.js';
export type { ErrorCode } from './errors.js';
export type {
  Backend,
  DeviceInfo,
  EncoderConfig,
  Encoding,
  KeptHeads,
  KeptNeurons,
  Level,
  PackedBatch,
  Pooling,
  Precision,
  Structure,
} from './types.js';

// text to batches
export { Tokenizer } from './tokenizer/index.js';
export type { EncodeOptions as TokenizeOptions, Truncation } from './tokenizer/index.js';
export { packBatch, splitByTokens } from './batch/index.js';

// the model
export { computeFraction, ElasticModel, forwardFlops, packageVersion } from './model/index.js';
export type {
  CheckpointFacts,
  ElasticFile,
  ForwardOptions,
  ForwardResult,
  LoadOptions,
  ModelInfo,
} from './model/index.js';

// what it is for
export { ElasticClassifier, ElasticDenser, ElasticRanker } from './heads/index.js';
export type {
  Activation,
  Classification,
  EncodeOptions,
  EncodeResult,
  RankedDocument,
  RankerLoadOptions,
  RankOptions,
  RunOptions,
  ScoreOptions,
  TextKind,
  TextOrPair,
} from './heads/index.js';
export { DenseRetriever, retrieveThenRerank, VectorIndex } from './retrieval/index.js';
export type {
  BuildOptions,
  Hit,
  IndexOptions,
  RerankedHit,
  RerankOptions,
  RetrieveOptions,
  RetrieverDocument,
  SearchOptions,
  VectorPrecision,
  VectorSource,
} from './retrieval/index.js';

// making checkpoints elastic, and measuring them
export { elasticize } from './structure/index.js';
export type { ElasticizeOptions, ElasticizeResult } from './structure/index.js';
export {
  accuracy,
  averagePrecision,
  documentText,
  evaluate,
  evaluateLabels,
  evaluateRegression,
  evaluateRetrieval,
  evaluateSts,
  evaluateWikiQa,
  evaluationTasks,
  f1,
  matthews,
  ndcgAt,
  pearson,
  rankRun,
  readBeirCorpus,
  readBeirQrels,
  readBeirQueries,
  readGlue,
  readWikiQa,
  recallAt,
  reciprocalRankAt,
  spearman,
} from './eval/index.js';
export type {
  BeirDocument,
  BeirQuery,
  EvaluateOptions,
  EvaluationResult,
  EvaluationTask,
  GlueExample,
  GlueTask,
  Judgments,
  LabelOptions,
  LabelTask,
  LevelChoice,
  Qrels,
  RegressionOptions,
  RetrievalOptions,
  RetrievalResult,
  ScoredDocument,
  StsOptions,
  StsResult,
  TaskResult,
  WikiQaOptions,
  WikiQaQuestion,
  WikiQaResult,
} from './eval/index.js';
