/** Which heads and neurons matter, and checkpoints ordered by it. */
export { elasticize } from './elasticize.js';
export type { ElasticizeOptions, ElasticizeResult } from './elasticize.js';
export { importanceLosses } from './measure.js';
export type {
  ActivationNormOptions,
  ImportanceLoss,
  ImportanceOptions,
  MaskGradientOptions,
} from './measure.js';
export { meanMaskGradients } from './mask-gradients.js';
export type { MaskGradientSpec, MeasuredGradients } from './mask-gradients.js';
export { activationImportance, normalizePerLayer } from './importance.js';
export type { Importance } from './importance.js';
export { rankStructures } from './ranking.js';
export type { RankedLevel, Ranking } from './ranking.js';
export { OutputFolder, writing } from './output-folder.js';
