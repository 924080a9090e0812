// The driver's side of tensor maps.
#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>

#include "emulator/async/tensor_map_image.h"
#include "emulator/runtime.h"

using elasticlm::emulator::kTensorMapMagic;
using elasticlm::emulator::TensorMapImage;

namespace {

// The driver that first had tensor maps.
constexpr unsigned kTensorMapVersion = 12000;

}  // namespace

// The manual's requirements of a matrix of 16-bit elements. What TMA could do beyond what kernels here use is
// refused.
CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill out_of_bounds) {
  if (elasticlm::emulator::settings().compute_capability < 90) return CUDA_ERROR_NOT_SUPPORTED;
  constexpr cuuint64_t kMaxDim = cuuint64_t{1} << 32;
  constexpr cuuint64_t kMaxStride = cuuint64_t{1} << 40;
  constexpr cuuint32_t kMaxBox = 256;
  if (type != CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (rank != 2 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
      out_of_bounds != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0) return CUDA_ERROR_INVALID_VALUE;
  if (address == nullptr || reinterpret_cast<uintptr_t>(address) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  for (cuuint32_t i = 0; i < rank; ++i) {
    if (dims[i] < 1 || dims[i] > kMaxDim) return CUDA_ERROR_INVALID_VALUE;
    if (box[i] < 1 || box[i] > kMaxBox) return CUDA_ERROR_INVALID_VALUE;
    if (element_strides[i] != 1) return CUDA_ERROR_INVALID_VALUE;
  }
  if (strides[0] % 16 != 0 || strides[0] >= kMaxStride || strides[0] < dims[0] * sizeof(uint16_t)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const cuuint64_t box_row_bytes = box[0] * sizeof(uint16_t);
  if (swizzle != CU_TENSOR_MAP_SWIZZLE_128B || box_row_bytes != 128) return CUDA_ERROR_INVALID_VALUE;

  const TensorMapImage image = {.magic = kTensorMapMagic,
                                .address = reinterpret_cast<uint64_t>(address),
                                .columns = dims[0],
                                .rows = dims[1],
                                .row_stride = strides[0],
                                .box_columns = box[0],
                                .box_rows = box[1],
                                .swizzle = swizzle};
  *map = {};
  std::memcpy(map->opaque, &image, sizeof(image));
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                             unsigned long long, cudaDriverEntryPointQueryResult* result) {
  return elasticlm::emulator::api_call([&] {
    const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
    const bool found = known && version >= kTensorMapVersion;
    *function = found ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
    if (result != nullptr) {
      *result = found   ? cudaDriverEntryPointSuccess
                : known ? cudaDriverEntryPointVersionNotSufficent
                        : cudaDriverEntryPointSymbolNotFound;
    }
    return cudaSuccess;
  });
}
