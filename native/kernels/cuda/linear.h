// linear_forward on a GPU: y = epilogue(x Wᵀ + bias) over the rows and the blocks of stored weights that each
// group's SubLM keeps. One persistent launch serves all groups: block b of the grid takes tiles b, b + grid,
// … of the list that the groups make up, so mixed levels share a launch and its tail. A tile never crosses a
// group.
//
// Accumulation: f32, in steps of 16 of depth in the order of the group's list, one chain. So an element's
// bits depend on its row, its column and the kept depth alone, for one implementation; linear_mma_forward and
// linear_wgmma_forward may differ.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/records.h"
#include "kernels/cuda/tensor_map.h"

namespace elasticlm::cuda {

// What a row of the stored weight is. Structures keep rows in both cases: of QKV and FFN-up those that make a
// column of y, of the output projection and FFN-down those that a column of x meets.
enum class WeightRows {
  kColumns,  // W [N, K]
  kDepth,    // Wᵀ [K, N]
};

enum class Epilogue {
  kBias,          // a + bias
  kBiasGelu,      // exact GELU, x Φ(x)
  kBiasTanh,      //
  kBiasResidual,  // a + bias + y: y holds the residual and is overwritten
};

// A matrix in device memory. Maps are for 16-bit elements where the device has TMA; empty otherwise.
struct DeviceMatrix {
  void* data = nullptr;  // [rows, ld], 16-byte aligned
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t ld = 0;            // elements, a multiple of 8
  TensorMap block_map = {};  // boxes of kRowBlock rows
  TensorMap panel_map = {};  // boxes of kPanelRows rows
};
inline constexpr int kPanelRows = 64;

struct LinearArgs {
  DType dtype = DType::kBF16;  // of weight, x and y
  WeightRows weight_rows = WeightRows::kColumns;
  Epilogue epilogue = Epilogue::kBias;
  DeviceMatrix weight;                  // rows a multiple of 16
  const float* bias = nullptr;          // [N], in stored order
  DeviceMatrix x;                       // [rows, >= depth]
  DeviceMatrix y;                       // [rows, >= num_columns]
  const LinearStep* step = nullptr;     // device memory
  const LinearGroup* groups = nullptr;  // device memory, what step counts from
  const int32_t* row_blocks = nullptr;  // device memory, what groups count from
};

// Where a launch goes and how large it may be; the same for every kernel of a forward.
struct LaunchContext {
  cudaStream_t stream = nullptr;
  int num_sms = 1;
  // Upper bounds of what the plan's records may say, for the size of the grid: a captured graph is replayed
  // with other records within them.
  int64_t max_rows = 0;
  int64_t max_sequences = 0;
  int64_t max_attention_tiles = 0;
  bool programmatic = false;  // every kernel begins with grid_dependency_wait
};

using DeviceLinearForward = void (*)(const LinearArgs&, const LaunchContext&);

// mma.sync and cp.async: compute capability 8.0 on; f16 and bf16.
void linear_mma_forward(const LinearArgs& args, const LaunchContext& context);
// WGMMA and TMA: compute capability 9.0 exactly; f16 and bf16.
void linear_wgmma_forward(const LinearArgs& args, const LaunchContext& context);
// The plain truth, one thread for each element, also for f32.
void linear_reference_forward(const LinearArgs& args, const LaunchContext& context);

}  // namespace elasticlm::cuda
