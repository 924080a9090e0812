/** Training: all SubLMs of a checkpoint together, in shared weights. */
export { train } from './trainer.js';
export type { EndReason, TrainResult } from './trainer.js';
export type { EarlyStop, Metrics, TrainOptions } from './options.js';
export type {
  CheckpointEvent,
  EvaluationEvent,
  StartEvent,
  StepEvent,
  StepLosses,
  TrainEvent,
} from './events.js';
export type { LevelSampling } from './schedule.js';
export type { DataPosition, DescribedData, LossName, Objective, TrainBatch, TrainData } from './types.js';

// data
export { readTexts } from './text-files.js';
export type { ReadTextsOptions, TrainingText } from './text-files.js';
export { TextData } from './text-data.js';
export type { TextDataOptions, TextKindOfExample } from './text-data.js';
export { MlmData } from './mlm-data.js';
export { PairData } from './pair-data.js';
export type { Pair, PairDataOptions } from './pair-data.js';
export { loadTextPairs } from './text-pairs.js';
export type { TextPairing, TextPairsOptions } from './text-pairs.js';
export { loadBeirPairs } from './beir-pairs.js';
export type { BeirPairsOptions } from './beir-pairs.js';
export { mineHardNegatives } from './hard-negatives.js';
export type { HardNegativeOptions, JudgedCollection } from './hard-negatives.js';
export { Exclusions } from './exclusions.js';
export type { ExcludedCollection } from './exclusions.js';
export { GlueData } from './glue-data.js';
export type { GlueDataOptions } from './glue-data.js';
export { RankingData } from './ranking-data.js';
export type { RankingDataOptions } from './ranking-data.js';
export type { DataOptions } from './data-options.js';
export { importanceBatches } from './importance-batches.js';
export type { ImportanceBatchOptions } from './importance-batches.js';

// whole runs
export { distill, finetune, recipeFolders } from './run-recipe.js';
export type {
  ProgressEvent,
  RecipeEvent,
  RecipeResult,
  RecipeRunOptions,
  RecipeStage,
} from './run-recipe.js';
export { checkRecipe } from './recipe.js';
export type { Recipe, RecipeData, RecipeEvaluation, RecipeKind, RecipeTraining } from './recipe.js';
export { mergeRecipe, readRecipe } from './recipe-file.js';
export type { RecipeFileOptions } from './recipe-file.js';
