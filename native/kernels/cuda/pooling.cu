// One vector for each sequence. A block takes a sequence: its threads stand side by side on the chunks of a
// row and, where a row has fewer chunks than the block has threads, on several rows at once; a thread adds up
// its rows in order, then the partial sums of the rows' threads are added in order. What thread adds what
// depends on hidden_size and the sequence alone.
//
// A block reads S E elements, 786 KB for 512 rows of 768 in a 16-bit type: about 8 µs at the 64 bytes a clock
// that one SM takes in. So a lone long sequence is what this is slow at; it is one launch of a forward's
// fifty.
#include <algorithm>

#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/row_norm.cuh"
#include "kernels/cuda/rows.h"

namespace elasticlm::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kBlocksPerSm = 2;

// Rows that a block reads at once.
__host__ __device__ constexpr int num_stripes(int num_chunks) {
  return num_chunks >= kThreads ? 1 : kThreads / num_chunks;
}

// The sum over the block, the same bits in every thread.
ELASTICLM_DEVICE float block_sum(float value, float* partials) {
  value = warp_sum(value);
  if (threadIdx.x % kWarpThreads == 0) partials[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < kWarps; ++warp) sum += partials[warp];
  return sum;
}

template <typename T>
class Pool {
 public:
  ELASTICLM_DEVICE explicit Pool(const DevicePoolingArgs& args)
      : args_(args),
        num_chunks_(static_cast<int>(args.hidden_size) / kChunk),
        num_stripes_(num_stripes(num_chunks_)),
        sums_(reinterpret_cast<float*>(shared_memory())),
        partials_(sums_ + num_stripes_ * args.hidden_size) {}

  ELASTICLM_DEVICE void run(int sequence) {
    const SequenceRecord record = args_.sequences[sequence];
    const int num_rows = args_.pooling == Pooling::kCls ? 1 : record.num_rows;
    const int thread = static_cast<int>(threadIdx.x);
    __syncthreads();  // the sequence before has left shared memory
    const int stripe = num_stripes_ == 1 ? 0 : thread / num_chunks_;
    if (stripe < num_stripes_) {
      for (int chunk = thread - stripe * num_chunks_; chunk < num_chunks_; chunk += kThreads) {
        add_rows(static_cast<const T*>(args_.x) + record.row_begin * args_.ldx + chunk * kChunk, stripe,
                 num_rows, sums_ + stripe * args_.hidden_size + chunk * kChunk);
      }
    }
    __syncthreads();
    float squares = 0.0f;
    for (int chunk = thread; chunk < num_chunks_; chunk += kThreads) {
      float mean[kChunk];
      add_stripes(chunk, num_rows, mean);
      squares = chunk_square_sum(mean, 0.0f, squares);
      store_chunk(sums_ + chunk * kChunk, mean);
    }
    float gain = 1.0f;
    if (args_.normalize) {
      squares = block_sum(squares, partials_);
      if (squares > 0.0f) gain = 1.0f / sqrtf(squares);
    }
    float* out = args_.out + record.position * args_.hidden_size;
    for (int chunk = thread; chunk < num_chunks_; chunk += kThreads) {
      float mean[kChunk];
      load_chunk(sums_ + chunk * kChunk, mean);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) mean[i] *= gain;
      store_chunk(out + chunk * kChunk, mean);
    }
  }

 private:
  // Every num_stripes_-th row from `stripe` on.
  ELASTICLM_DEVICE void add_rows(const T* x, int stripe, int num_rows, float* target) const {
    float sum[kChunk] = {};
#pragma unroll 4
    for (int row = stripe; row < num_rows; row += num_stripes_) {
      float values[kChunk];
      load_chunk(x + row * args_.ldx, values);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) sum[i] += values[i];
    }
    store_chunk(target, sum);
  }

  ELASTICLM_DEVICE void add_stripes(int chunk, int num_rows, float (&mean)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) mean[i] = 0.0f;
    for (int stripe = 0; stripe < num_stripes_; ++stripe) {
      float sum[kChunk];
      load_chunk(sums_ + stripe * args_.hidden_size + chunk * kChunk, sum);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) mean[i] += sum[i];
    }
#pragma unroll
    for (int i = 0; i < kChunk; ++i) mean[i] /= static_cast<float>(num_rows);
  }

  const DevicePoolingArgs& args_;
  int num_chunks_;
  int num_stripes_;
  float* sums_;      // [num_stripes_, hidden_size]; then the mean in its first row
  float* partials_;  // [kWarps]
};

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    pooling_kernel(const __grid_constant__ DevicePoolingArgs args) {
  ptx::grid_dependency_wait();
  ptx::grid_dependency_launch();
  Pool<T> pool(args);
  const int num_sequences = args.header->num_sequences;
  for (int sequence = static_cast<int>(blockIdx.x); sequence < num_sequences;
       sequence += static_cast<int>(gridDim.x)) {
    pool.run(sequence);
  }
}

}  // namespace

void device_pooling_forward(const DevicePoolingArgs& args, const LaunchContext& context) {
  const int64_t num_blocks = std::min(context.max_sequences, int64_t{context.num_sms} * kBlocksPerSm);
  const int num_floats =
      num_stripes(static_cast<int>(args.hidden_size) / kChunk) * static_cast<int>(args.hidden_size);
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(std::max<int64_t>(num_blocks, 1))),
                             .block = dim3(kThreads),
                             .shared_bytes = (static_cast<size_t>(num_floats) + kWarps) * sizeof(float),
                             .stream = context.stream,
                             .programmatic = context.programmatic};
  for_dtype(args.dtype, [&]<typename T>() { launch(pooling_kernel<T>, shape, args); });
}

}  // namespace elasticlm::cuda
