// attention_forward on tensor cores with mma.sync and cp.async. Buys over attention_reference.cu: products on
// tensor cores, K and V read once for 64 queries, one pass over the keys.
//
// Floor of one item (64 queries, D = 64, 16-bit elements) on one of an H100's 132 SMs. Rates for one SM:
// mma.sync 4.7 TFLOP/s (620 in all, what the instruction reaches of WGMMA's 989), the level-2 cache 42 KB/µs
// (5.5 TB/s in all), exponentials 28 per ns (16 a clock). D = 32 halves the first two.
//
//   S    products            q, K, V, context    exponentials
//   128  2.1 MFLOP, 0.45 µs   48 KB, 1.15 µs      8192, 0.29 µs
//   512  8.4 MFLOP, 1.8 µs   144 KB, 3.4 µs      32768, 1.2 µs
//
// So with 64 queries an item is bound by what the level-2 cache delivers, 13 µs for 64 sequences of 128 and
// 12 heads, and WGMMA, which would halve the first column alone, does not pay. It would with 128 or more
// queries in an item (K and V read half as often: 1.9 µs in place of 3.4 for each 64 queries at S = 512), and
// then from S = 256 or so on.
//
// The grid is what the device runs at once; block b takes items b, b + grid, … of the step. A sequence of up
// to 32 tokens has work for one or two warps only: where a block's next items are all so short, its warps
// take one each, up to four at a time.
#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_items.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {
namespace {

constexpr int kWarps = 4;
// A warp alone has its share of the block's shared memory: 32 keys.
constexpr int kAloneRows = kAttentionStages * kTileKeys / kWarps;
// Registers: 158 to 168 of a thread at D = 64 and 123 at D = 32 are what ptxas takes without spilling
// (nvcc 13.0, sm_80 and sm_90); one block more would spill 50 bytes. Bytes in flight do not ask for it: 3
// blocks have 96 KB on their way, and the cache's rate times its latency (800 ns) is 34 KB.
template <int kHeadDim>
constexpr int kBlocksPerSm = kHeadDim == 64 ? 3 : 4;

// For 10.0 and 12.0 ptxas (nvcc 13.0) needs a few registers more, and one block fewer leaves them; the grid
// stays as it is.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <int kHeadDim>
constexpr int kBlocksInRegisters = kBlocksPerSm<kHeadDim> - 1;
#else
template <int kHeadDim>
constexpr int kBlocksInRegisters = kBlocksPerSm<kHeadDim>;
#endif

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kWarps* kWarpThreads, kBlocksInRegisters<kHeadDim>)
    attention_mma_kernel(const __grid_constant__ DeviceAttentionArgs args) {
  ptx::grid_dependency_wait();
  // All blocks of this launch run already: what comes next only takes what they leave.
  ptx::grid_dependency_launch();
  unsigned char* shared = shared_memory();
  const auto stride = static_cast<int>(gridDim.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  for (int next = static_cast<int>(blockIdx.x); next < args.step->num_items;) {
    const AttentionStep step = *args.step;
    // The block's next items, one for each warp: lane l looks at item l % kWarps. No rows where the list
    // ends.
    AttentionItem item;
    const int ahead = next + lane % kWarps * stride;
    if (ahead < step.num_items) item = attention_item(args, step, ahead);
    int longest = item.num_rows;
    for (int offset = 1; offset < kWarps; offset *= 2) {
      longest = max(longest, __shfl_xor_sync(kFullWarp, longest, offset));
    }
    const bool alone = longest <= kAloneRows && next + stride < step.num_items;
    const int source = alone ? warp : 0;
    item.row_begin = __shfl_sync(kFullWarp, item.row_begin, source);
    item.num_rows = __shfl_sync(kFullWarp, item.num_rows, source);
    item.query_begin = __shfl_sync(kFullWarp, item.query_begin, source);
    item.head = __shfl_sync(kFullWarp, item.head, source);
    const AttentionHead<T, kHeadDim> head = head_of<T, kHeadDim>(args, item);
    __syncthreads();  // nobody reads shared memory for the items before these
    if (alone) {
      unsigned char* own = shared + warp * (kAttentionSharedBytes<kHeadDim> / kWarps);
      if (item.num_rows > 0) attend_alone<T, kHeadDim, kAloneRows>(head, own);
      next += kWarps * stride;
    } else {
      attend_together<T, kHeadDim, kWarps>(head, item.query_begin, shared);
      next += stride;
    }
  }
}

template <typename T, int kHeadDim>
void launch_mma(const DeviceAttentionArgs& args, const LaunchContext& context) {
  const int64_t max_items = max_attention_items(args, context);
  if (max_items == 0) return;
  const auto num_blocks = std::min<int64_t>(max_items, int64_t{context.num_sms} * kBlocksPerSm<kHeadDim>);
  launch(attention_mma_kernel<T, kHeadDim>,
         {.grid = dim3(static_cast<unsigned>(num_blocks)),
          .block = dim3(kWarps * kWarpThreads),
          .shared_bytes = kAttentionSharedBytes<kHeadDim>,
          .stream = context.stream,
          .programmatic = context.programmatic},
         args);
}

}  // namespace

void attention_mma_forward(const DeviceAttentionArgs& args, const LaunchContext& context) {
  for_dtype_16(args.dtype, [&]<typename T>() {
    if (args.head_dim == 64) {
      launch_mma<T, 64>(args, context);
    } else {
      launch_mma<T, 32>(args, context);
    }
  });
}

}  // namespace elasticlm::cuda
