/** A checkpoint on disk and the model that runs it. */
export { computeFraction, forwardFlops } from './compute-fraction.js';
export { readCheckpoint } from './checkpoint.js';
export { packageVersion } from './package-version.js';
export type { CheckpointFiles } from './checkpoint.js';
export { ElasticModel } from './elastic-model.js';
export type { CheckpointFacts, ForwardOptions, ForwardResult, ModelInfo } from './elastic-model.js';
export type { LoadOptions } from './load-options.js';
export { checkElasticFile, readElasticFile, serialiseElasticFile } from './elastic-file.js';
export type { ElasticFile, ElasticLevel, ElasticQuality, ElasticImportance } from './elastic-file.js';
