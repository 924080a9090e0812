/** From encodings to the packed batch that a model runs. */
export { packBatch } from './pack.js';
export { splitByTokens } from './split.js';
