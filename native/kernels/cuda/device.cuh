// The words that kernels are written in. Under nvcc they are CUDA's own; on a machine without a GPU the same
// sources are compiled as C++ by the emulator (native/emulator), which brings the same words: __global__,
// __device__, threadIdx, blockIdx, blockDim, gridDim, __syncthreads, __syncwarp, __shfl_sync,
// __shfl_xor_sync, dim3, float2, uint2, uint4.
//
// What kernels here do not use, so that both compilers take them: <<<>>> (see launch.h), static __shared__
// variables (see shared_memory below), inline assembly (see ptx.cuh), and the types of cuda_fp16.h and
// cuda_bf16.h (see element.cuh).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Device functions are always inlined: a call would put accumulators into memory.
#define ELASTICLM_DEVICE __device__ __forceinline__

namespace elasticlm::cuda {

inline constexpr int kWarpThreads = 32;
inline constexpr int kWarpgroupThreads = 128;
inline constexpr unsigned kFullWarp = 0xffffffffu;

// The block's dynamic shared memory, 1024-byte aligned (what a 128-byte swizzled tile needs). Content
// unspecified.
ELASTICLM_DEVICE unsigned char* shared_memory() {
#if defined(ELASTICLM_EMULATED)
  return emulator::shared_memory();
#else
  extern __shared__ __align__(1024) unsigned char elasticlm_shared_memory[];
  return elasticlm_shared_memory;
#endif
}

}  // namespace elasticlm::cuda
