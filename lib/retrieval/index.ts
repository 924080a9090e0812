/** Exact search over stored vectors, and reranking of what it finds. */
export { VectorIndex } from './vector-index.js';
export type { Hit, IndexOptions, SearchOptions, VectorSource } from './vector-index.js';
export type { VectorPrecision } from '../binding/index.js';
export { DenseRetriever } from './dense-retriever.js';
export type { BuildOptions, RetrieveOptions, RetrieverDocument } from './dense-retriever.js';
export { retrieveThenRerank } from './retrieve-then-rerank.js';
export type { RerankedHit, RerankOptions } from './retrieve-then-rerank.js';
export { listFiles, readProse } from './prose.js';
export type { ProsePassage } from './prose.js';
