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
import type { Precision } from '../types.js';
import { checkPrecision, type LoadRequest } from './load-options.js';

export type ModelSource = Pick<NativeModelSpec, 'paths' | 'config' | 'structures' | 'adapterIdx'>;

export interface LoadedModel {
  native: NativeModel;
  /** why backend 'auto' chose the cpu */
  backendReason?: string;
}

/** The head sizes that the attention kernels for GPUs are written for. */
const deviceHeadDims: readonly number[] = [32, 64];

/** Why backend 'auto' computes in these on the cpu. */
const cpuOnly: Partial<Record<Precision, string>> = {
  f32: "'f32' is fast on the cpu alone; a GPU computes it when backend 'cuda' is asked for",
  i8: "GPUs do not compute in 'i8' here",
};

/**
 * Backend 'auto' falls back for what makes a GPU unavailable and for nothing else: where a GPU is there but its memory is
 * taken, say, a server should not come up slow without a word.
 */
export async function loadNative(source: ModelSource, request: LoadRequest): Promise<LoadedModel> {
  if (request.backend === 'cpu') return { native: await loadOnCpu(source, request) };
  if (request.backend === 'cuda') return { native: await loadOnGpu(source, request) };
  let backendReason = cpuOnly[request.precision];
  if (backendReason === undefined) {
    try {
      return { native: await loadOnGpu(source, request) };
    } catch (error) {
      if (!(error instanceof ElasticError) || error.code !== 'ELASTICLM_BACKEND_UNAVAILABLE') throw error;
      backendReason = error.message;
    }
  }
  return { native: await loadOnCpu(source, request, backendReason), backendReason };
}

function loadOnCpu(source: ModelSource, request: LoadRequest, why?: string): Promise<NativeModel> {
  const precision = checkPrecision(request.precision, 'cpu', why);
  return NativeModel.load({
    ...source,
    threads: resolveThreads(request.threads),
    isa: resolveIsa(),
    // 'auto' is what other runtimes compute in, so that results compare
    precision: precision === 'auto' ? 'f32' : precision,
  });
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
  const precision = checkPrecision(request.precision, 'cuda');
  return NativeModel.load({
    ...source,
    threads: resolveStreams(request.threads),
    cuda: {
      library,
      device: request.device,
      precision: precision === 'auto' ? 'bf16' : precision,
      path: 'auto',
    },
  });
}
