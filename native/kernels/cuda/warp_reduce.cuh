// Sums and maxima over a warp, the same bits in every lane: at each step both partners add the same two
// numbers.
#pragma once

#include "kernels/cuda/device.cuh"

namespace elasticlm::cuda {

ELASTICLM_DEVICE float warp_sum(float value) {
#pragma unroll
  for (int offset = kWarpThreads / 2; offset > 0; offset /= 2)
    value += __shfl_xor_sync(kFullWarp, value, offset);
  return value;
}

ELASTICLM_DEVICE float warp_max(float value) {
#pragma unroll
  for (int offset = kWarpThreads / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

}  // namespace elasticlm::cuda
