// The small-request kernel: see small_forward.h.
//
// Floor, BERT-base in bf16 at 1 x 32 on an H200: 170 MB of weights at 4.8 TB/s are 35 µs; the rows that each
// block reads (at 64 bytes a clock and SM: 2 x 49 KB for the hidden states, 49 KB for the context, 196 KB for
// the FFN's output) are 3 µs a layer, 36 µs; five barriers a layer at about 1 µs are 60 µs, of which
// prefetching hides the weights' latency. Fewer barriers would pay next: they are what is left.
#include <algorithm>

#include "kernels/cuda/attention_items.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_norm.cuh"
#include "kernels/cuda/small_forward.h"
#include "kernels/cuda/small_linear.cuh"

namespace elasticlm::cuda {
namespace {

// All blocks of a cooperative launch meet here. Arriving and waiting are two calls, so that a block can do
// something that needs nobody in between.
class GridBarrier {
 public:
  ELASTICLM_DEVICE explicit GridBarrier(uint32_t* count) : count_(count) {}
  ELASTICLM_DEVICE void arrive() {
    __syncthreads();  // what all threads of the block wrote is published by the one that arrives
    target_ += gridDim.x;
    if (threadIdx.x == 0) ptx::add_release(count_, 1);
  }
  ELASTICLM_DEVICE void wait() {
    if (threadIdx.x == 0) {
      // The count only grows, and by at most one grid beyond the target.
      while (static_cast<int32_t>(ptx::load_acquire(count_) - target_) < 0) {
      }
    }
    __syncthreads();
  }

 private:
  uint32_t* count_;
  uint32_t target_ = 0;
};

// Whether a group of `step` holds the row.
ELASTICLM_DEVICE bool is_in_step(const LinearStep& step, const LinearGroup* groups, int row) {
  for (int g = 0; g < step.num_groups; ++g) {
    const LinearGroup& group = groups[step.group_begin + g];
    if (row >= group.row_begin && row < group.row_begin + group.num_rows) return true;
  }
  return false;
}

// Where things lie in a block's shared memory, in bytes from its start: the rows of a step, the ring of
// weights, and what one step needs for itself (sums of a linear step, keys and values of attention).
struct SmallShared {
  int row_pitch = 0;  // of a whole row: 16 modulo 128, so that ldmatrix meets no bank twice
  int row_slot_bytes = 0;
  int weights = 0;
  int scratch = 0;
  int num_bytes = 0;
};

constexpr int kSumsBytes = kSmallWarps * kSmallRows * kRowBlock * static_cast<int>(sizeof(float));
constexpr int kScratchBytes = std::max(kSumsBytes, kAttentionSharedBytes<64>);

SmallShared small_shared(int64_t num_rows, int64_t hidden_size) {
  const auto aligned = [](int64_t bytes) { return static_cast<int>((bytes + 127) / 128 * 128); };
  SmallShared shared;
  shared.row_pitch = aligned(hidden_size * 2) + 16;
  shared.row_slot_bytes = static_cast<int>(num_rows) * kSmallChunkPitch;
  shared.weights =
      aligned(std::max(num_rows * shared.row_pitch, int64_t{kSmallRowSlots} * shared.row_slot_bytes));
  shared.scratch = aligned(shared.weights + kSmallWeightSlots * kSmallWeightSlotBytes);
  shared.num_bytes = shared.scratch + kScratchBytes;
  return shared;
}

// A block's items of an attention step.
template <typename T, int kHeadDim>
ELASTICLM_DEVICE void attend(const SmallForwardArgs& args, const AttentionStep* step,
                             unsigned char* scratch) {
  DeviceAttentionArgs attention;
  attention.qkv = args.qkv;
  attention.context = args.context;
  attention.ldqkv = args.ldqkv;
  attention.ldcontext = args.embedding.hidden_size;
  attention.scale = args.attention_scale;
  attention.groups = args.attention_groups;
  attention.tiles = args.attention_tiles;
#pragma unroll 1
  for (int i = static_cast<int>(blockIdx.x); i < step->num_items; i += static_cast<int>(gridDim.x)) {
    const AttentionItem item = attention_item(attention, *step, i);
    attend_together<T, kHeadDim, kSmallWarps>(head_of<T, kHeadDim>(attention, item), item.query_begin,
                                              scratch);
    __syncthreads();  // before the next item's keys
  }
}

// One block's view of a forward.
template <typename T, int kHeadDim>
class SmallForward {
 public:
  ELASTICLM_DEVICE SmallForward(const SmallForwardArgs& args, const SmallShared& shared)
      : args_(args),
        layer_(args.layers),
        rows_(shared_memory()),
        scratch_(shared_memory() + shared.scratch),
        buffers_{ptx::shared_address(shared_memory() + shared.weights), ptx::shared_address(rows_),
                 shared.row_pitch, shared.row_slot_bytes, reinterpret_cast<float*>(scratch_)},
        normed_(static_cast<T*>(args.embedding.y)),
        other_(static_cast<T*>(args.spare)),
        barrier_(args.barrier) {}

  ELASTICLM_DEVICE void run() {
    SmallCursor cursor = prefetch<WeightRows::kColumns>(qkv_proj());
    embed();
#pragma unroll 1
    for (int l = 0;;) {
      project_qkv(cursor);
      barrier_.arrive();
      cursor = prefetch<WeightRows::kDepth>(attn_out_proj());
      barrier_.wait();

      attend<T, kHeadDim>(args_, layer_->attention_step, scratch_);
      barrier_.arrive();
      barrier_.wait();

      add_to_normed(attn_out_proj(), cursor,
                    {static_cast<const T*>(args_.context), args_.embedding.hidden_size});
      barrier_.arrive();
      cursor = prefetch<WeightRows::kColumns>(ffn_up());
      barrier_.wait();

      normalize(*layer_->attn_out_step, norm_of(layer_->attn_gamma, layer_->attn_beta));
      feed_up(cursor);
      barrier_.arrive();
      cursor = prefetch<WeightRows::kDepth>(ffn_down());
      barrier_.wait();

      add_to_normed(ffn_down(), cursor, {static_cast<const T*>(args_.ffn), args_.ldffn});
      barrier_.arrive();
      const LinearStep step = *layer_->ffn_down_step;
      const NormWeights norm = norm_of(layer_->ffn_gamma, layer_->ffn_beta);
      const bool is_last = ++l == args_.num_layers;
      if (!is_last) {
        ++layer_;
        cursor = prefetch<WeightRows::kColumns>(qkv_proj());
      }
      barrier_.wait();
      if (is_last) return finish(step, norm);
      normalize(step, norm);
    }
  }

 private:
  ELASTICLM_DEVICE SmallLinear<T> linear_of(const void* weight, const float* bias,
                                            const LinearStep* step) const {
    return {static_cast<const T*>(weight),
            bias,
            static_cast<int32_t>(args_.embedding.hidden_size),
            step,
            args_.groups,
            args_.row_blocks};
  }
  ELASTICLM_DEVICE SmallLinear<T> qkv_proj() const {
    return linear_of(layer_->qkv_proj, layer_->qkv_bias, layer_->qkv_step);
  }
  ELASTICLM_DEVICE SmallLinear<T> attn_out_proj() const {
    return linear_of(layer_->attn_out_proj, layer_->attn_out_bias, layer_->attn_out_step);
  }
  ELASTICLM_DEVICE SmallLinear<T> ffn_up() const {
    return linear_of(layer_->ffn_up, layer_->ffn_up_bias, layer_->ffn_up_step);
  }
  ELASTICLM_DEVICE SmallLinear<T> ffn_down() const {
    return linear_of(layer_->ffn_down, layer_->ffn_down_bias, layer_->ffn_down_step);
  }
  template <WeightRows kRows>
  ELASTICLM_DEVICE SmallCursor prefetch(const SmallLinear<T>& linear) {
    return small_prefetch<T, kRows>(linear, buffers_.weights);
  }

  ELASTICLM_DEVICE T* shared_row(int row) const {
    return reinterpret_cast<T*>(rows_ + row * buffers_.row_pitch);
  }
  ELASTICLM_DEVICE T* sums_row(int row) const {
    return static_cast<T*>(args_.sums) + row * args_.embedding.ldy;
  }
  ELASTICLM_DEVICE NormWeights norm_of(const float* gamma, const float* beta) const {
    return {gamma, beta, static_cast<int>(args_.embedding.hidden_size), args_.embedding.eps};
  }

  // Fills shared memory with the rows that fill(row, shared row) gives, and the block's share of `to` with
  // the same.
  template <typename Fill>
  ELASTICLM_DEVICE void replace_rows(T* to, const Fill& fill) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const int num_rows = args_.embedding.header->num_rows;
#pragma unroll 1
    for (int row = warp; row < num_rows; row += kSmallWarps) {
      fill(row, shared_row(row));
      if (row % static_cast<int>(gridDim.x) == static_cast<int>(blockIdx.x)) {
        __syncwarp();
        const auto* from = reinterpret_cast<const uint4*>(shared_row(row));
        auto* target = reinterpret_cast<uint4*>(to + row * args_.embedding.ldy);
        const int num_chunks = static_cast<int>(args_.embedding.hidden_size) / kChunk;
#pragma unroll 1
        for (int i = static_cast<int>(threadIdx.x) % kWarpThreads; i < num_chunks; i += kWarpThreads)
          target[i] = from[i];
      }
    }
    __syncthreads();
  }

  ELASTICLM_DEVICE void embed() {
    replace_rows(normed_, [&](int row, T* to) { embed_row<T>(args_.embedding, row, to); });
  }
  // What a step left of a row: its sums, or the row as it was where its structure keeps nothing of the step.
  ELASTICLM_DEVICE const T* row_after(const LinearStep& step, int row) const {
    return is_in_step(step, args_.groups, row) ? sums_row(row) : normed_ + row * args_.embedding.ldy;
  }
  // Other blocks may still read the rows as they were, so the new ones go elsewhere.
  ELASTICLM_DEVICE void normalize(const LinearStep& step, const NormWeights& norm) {
    replace_rows(other_, [&](int row, T* to) { normalize_row<T>(norm, row_after(step, row), to); });
    T* before = normed_;
    normed_ = other_;
    other_ = before;
  }
  // The last LayerNorm is the result: each row by one block, which alone reads it.
  ELASTICLM_DEVICE void finish(const LinearStep& step, const NormWeights& norm) {
    const int num_rows = args_.embedding.header->num_rows;
    const int first = static_cast<int>(blockIdx.x * kSmallWarps + threadIdx.x / kWarpThreads);
#pragma unroll 1
    for (int row = first; row < num_rows; row += static_cast<int>(gridDim.x) * kSmallWarps) {
      normalize_row<T>(norm, row_after(step, row),
                       static_cast<T*>(args_.embedding.y) + row * args_.embedding.ldy);
    }
  }

  ELASTICLM_DEVICE void project_qkv(const SmallCursor& cursor) {
    small_linear<T, WeightRows::kColumns>(
        qkv_proj(), buffers_, cursor, {}, [&](const SmallElement& at, const float2& sum) {
          T* y = static_cast<T*>(args_.qkv) + at.row * args_.ldqkv + at.column;
          *reinterpret_cast<uint32_t*>(y) = pack2<T>(sum.x + at.bias[0], sum.y + at.bias[1]);
        });
  }
  ELASTICLM_DEVICE void feed_up(const SmallCursor& cursor) {
    small_linear<T, WeightRows::kColumns>(
        ffn_up(), buffers_, cursor, {}, [&](const SmallElement& at, const float2& sum) {
          const float first = at.column < at.num_kept_columns ? gelu(sum.x + at.bias[0]) : 0.0f;
          const float second = at.column + 1 < at.num_kept_columns ? gelu(sum.y + at.bias[1]) : 0.0f;
          T* y = static_cast<T*>(args_.ffn) + at.row * args_.ldffn + at.column;
          *reinterpret_cast<uint32_t*>(y) = pack2<T>(first, second);
        });
  }
  // sums = x Wᵀ + bias + normed
  ELASTICLM_DEVICE void add_to_normed(const SmallLinear<T>& linear, const SmallCursor& cursor,
                                      const SmallSource<T>& x) {
    small_linear<T, WeightRows::kDepth>(
        linear, buffers_, cursor, x, [&](const SmallElement& at, const float2& sum) {
          const int64_t offset = at.row * args_.embedding.ldy + at.column;
          const float2 residual = unpack2<T>(*reinterpret_cast<const uint32_t*>(normed_ + offset));
          *reinterpret_cast<uint32_t*>(static_cast<T*>(args_.sums) + offset) =
              pack2<T>(sum.x + at.bias[0] + residual.x, sum.y + at.bias[1] + residual.y);
        });
  }

  const SmallForwardArgs& args_;
  const SmallLayer* layer_;  // in device memory: what a step needs of it is read when it begins
  unsigned char* rows_;
  unsigned char* scratch_;
  const SmallBuffers buffers_;
  T* normed_;  // [T, ldy]: the normalised rows, where residuals come from
  T* other_;
  GridBarrier barrier_;
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kSmallThreads, 1)
    small_forward_kernel(const __grid_constant__ SmallForwardArgs args,
                         const __grid_constant__ SmallShared shared) {
  SmallForward<T, kHeadDim>(args, shared).run();
}

template <typename T, int kHeadDim>
void launch_small(const SmallForwardArgs& args, const LaunchContext& context) {
  const SmallShared shared = small_shared(context.max_rows, args.embedding.hidden_size);
  // The limit belongs to the kernel and not to a launch: another thread or a captured graph may launch it for
  // more rows, so it is what the device has, whatever this forward needs.
  int device = 0;
  int most_shared_bytes = 0;
  check(cudaGetDevice(&device), "to find the current device");
  check(cudaDeviceGetAttribute(&most_shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "to tell how much shared memory a block may have");
  allow_shared_memory(small_forward_kernel<T, kHeadDim>, static_cast<size_t>(most_shared_bytes));
  // One block for each SM: all are resident whatever else runs, and a second would only make the barrier
  // slower.
  launch(small_forward_kernel<T, kHeadDim>,
         {.grid = dim3(static_cast<unsigned>(context.num_sms)),
          .block = dim3(kSmallThreads),
          .shared_bytes = static_cast<size_t>(shared.num_bytes),
          .stream = context.stream,
          .cooperative = true},
         args, shared);
}

}  // namespace

bool small_forward_fits(int64_t num_rows, int64_t hidden_size, size_t shared_bytes_per_block) {
  return num_rows <= kSmallForwardTokens &&
         static_cast<size_t>(small_shared(num_rows, hidden_size).num_bytes) <= shared_bytes_per_block;
}

void small_forward(const SmallForwardArgs& args, const LaunchContext& context) {
  for_dtype_16(args.dtype, [&]<typename T>() {
    if (args.head_dim == 64) {
      launch_small<T, 64>(args, context);
    } else {
      launch_small<T, 32>(args, context);
    }
  });
}

}  // namespace elasticlm::cuda
