/** Puts a checkpoint's weights where they will run: on what was asked for, or on what 'auto' finds. */
import {
  findCudaLibrary,
  NativeModel,
  resolveIsa,
  resolveStreams,
  resolveThreads,
  type NativeModelSpec,
} from '../binding/index.js';
import { ElasticError } from '../errors.js';
import { checkCpuPrecision, type LoadRequest } from './load-options.js';

export type ModelSource = Pick<NativeModelSpec, 'paths' | 'config' | 'structures'>;

export interface LoadedModel {
  native: NativeModel;
  /** why backend 'auto' chose the cpu */
  backendReason?: string;
}

/** The head sizes that the attention kernels for GPUs are written for. */
const deviceHeadDims: readonly number[] = [32, 64];

/**
 * Backend 'auto' falls back for what makes a GPU unavailable and for nothing else: where a GPU is there but its memory is
 * taken, say, a server should not come up slow without a word.
 */
export async function loadNative(source: ModelSource, request: LoadRequest): Promise<LoadedModel> {
  if (request.backend === 'cpu') return { native: await loadOnCpu(source, request) };
  if (request.backend === 'cuda') return { native: await loadOnGpu(source, request) };
  let backendReason = "'f32' is fast on the cpu alone; a GPU computes it when backend 'cuda' is asked for";
  if (request.precision !== 'f32') {
    try {
      return { native: await loadOnGpu(source, request) };
    } catch (error) {
      if (!(error instanceof ElasticError) || error.code !== 'ELASTICLM_BACKEND_UNAVAILABLE') throw error;
      backendReason = error.message;
    }
  }
  checkCpuPrecision(request.precision, backendReason);
  return { native: await loadOnCpu(source, request), backendReason };
}

function loadOnCpu(source: ModelSource, request: LoadRequest): Promise<NativeModel> {
  return NativeModel.load({ ...source, threads: resolveThreads(request.threads), isa: resolveIsa() });
}

async function loadOnGpu(source: ModelSource, request: LoadRequest): Promise<NativeModel> {
  const library = findCudaLibrary();
  const { headDim } = source.config;
  if (!deviceHeadDims.includes(headDim)) {
    throw ElasticError.of('ELASTICLM_BACKEND_UNAVAILABLE', {
      expected: `attention heads of ${deviceHeadDims.join(' or ')}`,
      subject: "backend 'cuda'",
      received: `heads of ${headDim}`,
      remedy: "Choose backend 'cpu'",
    });
  }
  const precision = request.precision === 'f32' || request.precision === 'f16' ? request.precision : 'bf16';
  return NativeModel.load({
    ...source,
    threads: resolveStreams(request.threads),
    cuda: { library, device: request.device, precision, path: 'auto' },
  });
}
