// A matrix in device memory as the tensor memory accelerator (TMA) sees it: made on the host, passed to a
// kernel as a
// __grid_constant__ parameter.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace elasticlm::cuda {

// The driver's CUtensorMap: 128 opaque bytes.
struct alignas(64) TensorMap {
  uint64_t words[16] = {};
};

// Boxes are 64 elements (128 bytes) wide and land with the 128-byte swizzle: the 16-byte chunk c of box row r
// is at chunk c ^ (r % 8) of the 128 bytes at r * 128.
inline constexpr int kBoxColumns = 64;

struct TensorMapSpec {
  const void* data = nullptr;  // [rows, ld], 16-byte aligned; 16-bit elements
  DType dtype = DType::kBF16;
  int64_t rows = 0;
  int64_t columns = 0;   // elements of a row; reading past them gives zeros
  int64_t ld = 0;        // a multiple of 8
  int32_t box_rows = 0;  // 1 to 256
};

// Throws kDeviceFailed when the driver refuses, kBackendUnavailable when it has no TMA.
TensorMap make_tensor_map(const TensorMapSpec& spec);

}  // namespace elasticlm::cuda
