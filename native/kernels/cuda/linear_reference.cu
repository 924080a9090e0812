// The plain truth for the fast linear kernels, and the linear layers of the f32 path: a thread for each
// element of y, one chain of fused multiply-adds over the kept depth.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {
namespace {

constexpr int kThreads = 256;
// Enough to fill an SM's 2048 threads; more rows and columns are walked.
constexpr int kBlocksPerSm = 8;

struct ReferenceArgs {
  WeightRows weight_rows;
  Epilogue epilogue;
  const void* weight;  // [rows, ldw]
  const float* bias;   // [N]
  const void* x;       // [T, ldx]
  void* y;             // [T, ldy]
  int64_t ldw;
  int64_t ldx;
  int64_t ldy;
  const LinearStep* step;
  const LinearGroup* groups;
  const int32_t* row_blocks;
};

// Row of the stored weight that column `i` of y (WeightRows::kColumns) or of x (kDepth) belongs to.
ELASTICLM_DEVICE int64_t stored_row_of(const ReferenceArgs& args, const LinearGroup& group, int i) {
  return stored_row(group, args.row_blocks, i / kRowBlock) + i % kRowBlock;
}

template <typename T>
ELASTICLM_DEVICE float sum_of_products(const ReferenceArgs& args, const LinearGroup& group, int64_t row,
                                       int column) {
  const T* const x = static_cast<const T*>(args.x) + row * args.ldx;
  const T* const weight = static_cast<const T*>(args.weight);
  float sum = 0.0f;
  if (args.weight_rows == WeightRows::kColumns) {
    const T* const w = weight + stored_row_of(args, group, column) * args.ldw;
    for (int k = 0; k < group.depth; ++k) sum = fmaf(to_float(x[k]), to_float(w[k]), sum);
  } else {
    for (int k = 0; k < group.depth; ++k) {
      sum = fmaf(to_float(x[k]), to_float(weight[stored_row_of(args, group, k) * args.ldw + column]), sum);
    }
  }
  return sum;
}

template <typename T>
ELASTICLM_DEVICE float finished(const ReferenceArgs& args, float a, const T& residual) {
  switch (args.epilogue) {
    case Epilogue::kBiasGelu:
      return 0.5f * a * (1.0f + erff(a * 0.70710678f));
    case Epilogue::kBiasTanh:
      return tanhf(a);
    case Epilogue::kBiasResidual:
      return a + to_float(residual);
    case Epilogue::kBias:
      break;
  }
  return a;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    linear_reference_kernel(const __grid_constant__ ReferenceArgs args) {
  ptx::grid_dependency_wait();
  const LinearStep step = *args.step;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t num_threads = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int g = 0; g < step.num_groups; ++g) {
    const LinearGroup group = args.groups[step.group_begin + g];
    const int64_t num_elements = static_cast<int64_t>(group.num_rows) * group.num_columns;
    for (int64_t i = thread; i < num_elements; i += num_threads) {
      const int64_t row = group.row_begin + i / group.num_columns;
      const int column = static_cast<int>(i % group.num_columns);
      T& y = static_cast<T*>(args.y)[row * args.ldy + column];
      if (column >= group.num_kept_columns) {
        y = from_float<T>(0.0f);
        continue;
      }
      const int64_t n =
          args.weight_rows == WeightRows::kColumns ? stored_row_of(args, group, column) : column;
      y = from_float<T>(finished(args, sum_of_products<T>(args, group, row, column) + args.bias[n], y));
    }
  }
  ptx::grid_dependency_launch();
}

template <typename T>
void launch_reference(const LinearArgs& args, const LaunchContext& context) {
  const ReferenceArgs kernel_args = {.weight_rows = args.weight_rows,
                                     .epilogue = args.epilogue,
                                     .weight = args.weight.data,
                                     .bias = args.bias,
                                     .x = args.x.data,
                                     .y = args.y.data,
                                     .ldw = args.weight.ld,
                                     .ldx = args.x.ld,
                                     .ldy = args.y.ld,
                                     .step = args.step,
                                     .groups = args.groups,
                                     .row_blocks = args.row_blocks};
  launch(linear_reference_kernel<T>,
         {.grid = dim3(static_cast<unsigned>(context.num_sms * kBlocksPerSm)),
          .block = dim3(kThreads),
          .stream = context.stream,
          .programmatic = context.programmatic},
         kernel_args);
}

}  // namespace

void linear_reference_forward(const LinearArgs& args, const LaunchContext& context) {
  switch (args.dtype) {
    case DType::kF32:
      return launch_reference<float>(args, context);
    case DType::kF16:
      return launch_reference<f16>(args, context);
    case DType::kBF16:
      return launch_reference<bf16>(args, context);
  }
}

}  // namespace elasticlm::cuda
