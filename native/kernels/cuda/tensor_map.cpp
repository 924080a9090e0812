#include "kernels/cuda/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "core/status.h"
#include "kernels/cuda/launch.h"

namespace elasticlm::cuda {
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

[[noreturn]] void fail_without_tma(const std::string& received) {
  fail(ErrorCode::kBackendUnavailable,
       {.expected = "a GPU and a driver with tensor maps (compute capability 9.0)",
        .subject = "kernels that load by TMA",
        .received = received,
        .remedy = "Choose another device path"});
}

// By name at run time: the library must load where there is no driver to link to.
EncodeTiled find_encode_tiled() {
  // The function came with CUDA 12.0 and has kept its form since.
  constexpr unsigned kSinceVersion = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSinceVersion,
                                         cudaEnableDefault, &found),
        "to find cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    fail_without_tma("a driver without cuTensorMapEncodeTiled");
  }
  return reinterpret_cast<EncodeTiled>(function);
}

}  // namespace

TensorMap make_tensor_map(const TensorMapSpec& spec) {
  static const EncodeTiled encode_tiled = find_encode_tiled();

  constexpr cuuint32_t kRank = 2;
  const cuuint64_t dims[kRank] = {static_cast<cuuint64_t>(spec.columns), static_cast<cuuint64_t>(spec.rows)};
  const cuuint64_t strides[kRank - 1] = {static_cast<cuuint64_t>(spec.ld) * sizeof(uint16_t)};
  const cuuint32_t box[kRank] = {kBoxColumns, static_cast<cuuint32_t>(spec.box_rows)};
  const cuuint32_t element_strides[kRank] = {1, 1};

  CUtensorMap encoded;
  // L2 fetches 256 bytes: the neighbouring 128 bytes of a row are the next step of depth.
  const CUresult result = encode_tiled(
      &encoded,
      spec.dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kRank,
      const_cast<void*>(spec.data), dims, strides, box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_ERROR_NOT_SUPPORTED) fail_without_tma("a GPU without");
  if (result != CUDA_SUCCESS) {
    fail(ErrorCode::kDeviceFailed,
         {.expected = "a matrix that a tensor map can describe (16-byte aligned rows of whole 16 bytes, a "
                      "box of 1 to 256 rows)",
          .subject = "loads by TMA",
          .received = "driver error " + std::to_string(static_cast<int>(result)) + " for " +
                      std::to_string(spec.rows) + " rows of " + std::to_string(spec.columns) + " elements, " +
                      std::to_string(spec.ld) + " apart, in boxes of " + std::to_string(spec.box_rows) +
                      " rows",
          .remedy = ""});
  }
  TensorMap map;
  std::copy(std::begin(encoded.opaque), std::end(encoded.opaque), std::begin(map.words));
  return map;
}

}  // namespace elasticlm::cuda
