// A kernel of nothing but what the asynchronous part of kernels/cuda/ptx.cuh offers, for its own test: a
// producer warp fills a ring of tiles by TMA, a warpgroup multiplies them by WGMMA. Where this is right on a
// GPU and in the emulator, both mean the same by a tensor map, a swizzle, a matrix descriptor and a phase.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/tensor_map.h"

namespace elasticlm::test {

struct TileProductArgs {
  DType dtype = DType::kBF16;
  int n = 64;            // 64, 128, 192 or 256
  bool n_major = false;  // B is stored [depth, n], otherwise [n, depth]
  int depth = 64;        // a multiple of 64
  int box_rows = 64;     // of both maps: 16 or 64
  cuda::TensorMap a;     // [64, depth]
  cuda::TensorMap b;
  float* d = nullptr;  // [64, n]: A B
};
void tile_product_forward(const TileProductArgs& args);

}  // namespace elasticlm::test
