/** The only door to native code. */
export type {
  CpuPrecision,
  DevicePath,
  DevicePrecision,
  Output,
  StepMode,
  StoredDtype,
  TrainPrecision,
  VectorPrecision,
} from './addon.js';
export { findPackage, loadAddon } from './addon.js';
export { findCudaLibrary } from './cuda-library.js';
export {
  availableProcessors,
  checkThreads,
  resolveIsa,
  resolveStreams,
  resolveThreads,
} from './environment.js';
export { allocateFloats, unshared } from './memory.js';
export { NativeModel } from './native-model.js';
export type { ActivationSums, NativeForwardSpec, NativeModelFacts, NativeModelSpec } from './native-model.js';
export { NativeIndex } from './native-index.js';
export type { NativeIndexOptions, NativeIndexSource, SearchResult } from './native-index.js';
export { NativeTrainer } from './native-trainer.js';
export type {
  LevelLosses,
  MaskGradients,
  NativeStep,
  NativeTrainerSpec,
  UpdateOptions,
} from './native-trainer.js';
export { quantizeVectors } from './quantize-vectors.js';
export type { QuantizedVectors } from './quantize-vectors.js';
export { outgoingNorms, writePermutedCheckpoint } from './checkpoint-tools.js';
export type { CheckpointSource, OutgoingNorms, Permutation } from './checkpoint-tools.js';
