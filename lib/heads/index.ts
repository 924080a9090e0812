/** From texts to vectors, rankings and labels. */
export { ElasticDenser } from './elastic-denser.js';
export type { EncodeOptions, EncodeResult } from './elastic-denser.js';
export { ElasticRanker } from './elastic-ranker.js';
export type { RankedDocument, RankerLoadOptions, RankOptions, ScoreOptions } from './elastic-ranker.js';
export { ElasticClassifier } from './elastic-classifier.js';
export type { Classification } from './elastic-classifier.js';
export type { Activation, TextKind } from './head-settings.js';
export type { RunResult } from './chunked-run.js';
export type {
  HeadLoadOptions,
  HeadRun,
  Runner,
  RunOptions,
  RunOutput,
  ScheduleHints,
  ServedFacts,
  TextOrPair,
} from './text-model.js';
