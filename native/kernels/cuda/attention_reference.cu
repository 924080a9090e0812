// attention_forward as its formula says: one warp for each query row and head, two passes over the keys. What
// it is for: the f32 path, and the truth beside attention_mma.cu on the same device.
#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_items.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace elasticlm::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kBlocksPerSm =
    4;  // 32 warps hide the latency of loads that are not coalesced; more gain little

template <typename T>
struct Head {
  const T* q;  // [S, ld]
  const T* k;
  const T* v;
  int64_t ld;
  int32_t num_rows;  // S
};

// q k of one key, -inf past the last key.
template <typename T, int kHeadDim>
ELASTICLM_DEVICE float score(const Head<T>& head, int32_t query, int32_t key) {
  if (key >= head.num_rows) return -INFINITY;
  const T* q = head.q + query * head.ld;
  const T* k = head.k + key * head.ld;
  float sum = 0.0f;
  for (int d = 0; d < kHeadDim; ++d) sum = fmaf(to_float(q[d]), to_float(k[d]), sum);
  return sum;
}

template <typename T, int kHeadDim>
ELASTICLM_DEVICE void attend(const Head<T>& head, int32_t query, float scale, T* context) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpThreads);
  float largest = -INFINITY;
  for (int32_t key = lane; key < head.num_rows; key += kWarpThreads) {
    largest = fmaxf(largest, score<T, kHeadDim>(head, query, key));
  }
  largest = warp_max(largest);
  float sum = 0.0f;
  float out[kHeadDim / kWarpThreads] = {};
  for (int32_t begin = 0; begin < head.num_rows; begin += kWarpThreads) {
    const float below = score<T, kHeadDim>(head, query, begin + lane) - largest;
    const float weight = ptx::exp2_approx(below * scale);
    sum += weight;
    const int32_t count = min(kWarpThreads, head.num_rows - begin);
    for (int32_t i = 0; i < count; ++i) {
      const float p = __shfl_sync(kFullWarp, weight, i);
      const T* v = head.v + (begin + i) * head.ld + lane;
      for (int j = 0; j < kHeadDim / kWarpThreads; ++j)
        out[j] = fmaf(p, to_float(v[j * kWarpThreads]), out[j]);
    }
  }
  sum = warp_sum(sum);
  for (int j = 0; j < kHeadDim / kWarpThreads; ++j) {
    context[lane + j * kWarpThreads] = from_float<T>(out[j] / sum);
  }
}

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kWarps* kWarpThreads)
    attention_reference_kernel(const __grid_constant__ DeviceAttentionArgs args) {
  ptx::grid_dependency_wait();
  ptx::grid_dependency_launch();
  const AttentionStep step = *args.step;
  const auto warp = static_cast<int32_t>(threadIdx.x / kWarpThreads);
  for (auto i = static_cast<int32_t>(blockIdx.x); i < step.num_items; i += static_cast<int32_t>(gridDim.x)) {
    const AttentionItem item = attention_item(args, step, i);
    const T* qkv = static_cast<const T*>(args.qkv) + item.row_begin * args.ldqkv + item.head * 3 * kHeadDim;
    const Head<T> head = {qkv, qkv + kHeadDim, qkv + 2 * kHeadDim, args.ldqkv, item.num_rows};
    T* context = static_cast<T*>(args.context) + item.row_begin * args.ldcontext + item.head * kHeadDim;
    const int32_t query_end = min(item.num_rows, item.query_begin + kAttentionQueries);
    for (int32_t query = item.query_begin + warp; query < query_end; query += kWarps) {
      attend<T, kHeadDim>(head, query, args.scale * kLog2E, context + query * args.ldcontext);
    }
  }
}

}  // namespace

void attention_reference_forward(const DeviceAttentionArgs& args, const LaunchContext& context) {
  const int64_t max_items = max_attention_items(args, context);
  if (max_items == 0) return;
  const auto num_blocks = std::min<int64_t>(max_items, int64_t{context.num_sms} * kBlocksPerSm);
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(num_blocks)),
                             .block = dim3(kWarps * kWarpThreads),
                             .stream = context.stream,
                             .programmatic = context.programmatic};
  for_dtype(args.dtype, [&]<typename T>() {
    launch(args.head_dim == 64 ? attention_reference_kernel<T, 64> : attention_reference_kernel<T, 32>, shape,
           args);
  });
}

}  // namespace elasticlm::cuda
