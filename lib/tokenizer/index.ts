export { Tokenizer } from './tokenizer.js';
export type { EncodeOptions, VocabFiles } from './tokenizer.js';
export type { Truncation } from './template.js';
