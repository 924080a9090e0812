// One warp for each row: embedding, LayerNorm, and the copies of rows that the heads need. Each reads a row's
// 16-byte chunks once, and is bound by memory: LayerNorm moves 4 E bytes for a row of a 16-bit type, 8192
// rows of 768 are 25 MB, 5 µs from the level-2 cache of an H100 (about 5.5 TB/s). One pass over rows in place
// of two kernels is what there is to win, and the linear kernels' kBiasResidual has taken it.
#include <algorithm>

#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/row_norm.cuh"
#include "kernels/cuda/rows.h"

namespace elasticlm::cuda {
namespace {

constexpr int kWarps = 8;
// Registers of a warp that holds its row. 24 warps with a row of 768 columns each have 36 KB in flight, what
// an SM needs to take in about 40 bytes a nanosecond at 800 ns of latency; an embedding has three rows in
// flight.
constexpr int kBlocksPerSm = 3;
constexpr int kEmbeddingBlocksPerSm = 2;

// Runs action(row) for this warp's share of rows. Every block of the launch is resident, so whatever comes
// next in the stream may take what is left of the device from the start.
template <typename Action>
ELASTICLM_DEVICE void for_each_row(const int32_t* num_rows, const Action& action) {
  ptx::grid_dependency_wait();
  ptx::grid_dependency_launch();
  const int end = *num_rows;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
#pragma unroll 1
  for (int row = static_cast<int>(blockIdx.x) * kWarps + warp; row < end;
       row += static_cast<int>(gridDim.x) * kWarps) {
    action(row);
  }
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads, kEmbeddingBlocksPerSm)
    embedding_kernel(const __grid_constant__ DeviceEmbeddingArgs args) {
  for_each_row(&args.header->num_rows,
               [&](int row) { embed_row<T>(args, row, static_cast<T*>(args.y) + row * args.ldy); });
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads, kBlocksPerSm)
    layer_norm_kernel(const __grid_constant__ DeviceLayerNormArgs args) {
  const NormWeights norm = {args.gamma, args.beta, static_cast<int>(args.hidden_size), args.eps};
  for_each_row(&args.header->num_rows, [&](int row) {
    T* y = static_cast<T*>(args.y) + row * args.ldy;
    normalize_row<T>(norm, y, y);
  });
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads)
    first_rows_kernel(const __grid_constant__ DeviceFirstRowsArgs args) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  for_each_row(&args.header->num_sequences, [&](int row) {
    const T* x = static_cast<const T*>(args.x) + args.sequences[row].row_begin * args.ldx;
    T* y = static_cast<T*>(args.y) + row * args.ldy;
#pragma unroll 1
    for (int64_t column = lane * kChunk; column < args.hidden_size; column += kWarpThreads * kChunk) {
      float values[kChunk];
      load_chunk(x + column, values);
      store_chunk(y + column, values);
    }
  });
}

// Rows of `out` are as long as a head's result is wide, a single label for instance: then elements go one by
// one.
template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads)
    widen_rows_kernel(const __grid_constant__ DeviceWidenArgs args) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  for_each_row(args.num_rows, [&](int row) {
    const T* x = static_cast<const T*>(args.x) + row * args.ldx;
    float* out = args.out + args.batch_rows[row] * args.columns;
    const int64_t in_chunks = args.columns % kChunk == 0 ? args.columns : 0;
#pragma unroll 1
    for (int64_t column = lane * kChunk; column < in_chunks; column += kWarpThreads * kChunk) {
      float values[kChunk];
      load_chunk(x + column, values);
      store_chunk(out + column, values);
    }
#pragma unroll 1
    for (int64_t column = in_chunks + lane; column < args.columns; column += kWarpThreads) {
      out[column] = to_float(x[column]);
    }
  });
}

LaunchShape shape_for(int64_t max_rows, int blocks_per_sm, const LaunchContext& context) {
  const int64_t num_blocks =
      std::min((max_rows + kWarps - 1) / kWarps, int64_t{context.num_sms} * blocks_per_sm);
  return {.grid = dim3(static_cast<unsigned>(std::max<int64_t>(num_blocks, 1))),
          .block = dim3(kWarps * kWarpThreads),
          .stream = context.stream,
          .programmatic = context.programmatic};
}

}  // namespace

void device_embedding_forward(const DeviceEmbeddingArgs& args, const LaunchContext& context) {
  const LaunchShape shape = shape_for(context.max_rows, kEmbeddingBlocksPerSm, context);
  for_dtype(args.dtype, [&]<typename T>() { launch(embedding_kernel<T>, shape, args); });
}

void device_layer_norm_forward(const DeviceLayerNormArgs& args, const LaunchContext& context) {
  const LaunchShape shape = shape_for(context.max_rows, kBlocksPerSm, context);
  for_dtype(args.dtype, [&]<typename T>() { launch(layer_norm_kernel<T>, shape, args); });
}

void device_first_rows(const DeviceFirstRowsArgs& args, const LaunchContext& context) {
  const LaunchShape shape = shape_for(context.max_sequences, kBlocksPerSm, context);
  for_dtype(args.dtype, [&]<typename T>() { launch(first_rows_kernel<T>, shape, args); });
}

void device_widen_rows(const DeviceWidenArgs& args, const LaunchContext& context) {
  const LaunchShape shape = shape_for(context.max_rows, kBlocksPerSm, context);
  for_dtype(args.dtype, [&]<typename T>() { launch(widen_rows_kernel<T>, shape, args); });
}

}  // namespace elasticlm::cuda
