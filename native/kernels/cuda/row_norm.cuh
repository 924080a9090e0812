// What a warp does with one row of hidden_size elements: lane l has the chunks of eight elements l, l + 32, …
// Sums run over a lane's elements in order and then over the warp's tree, so a row's bits depend on the row
// alone.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/warp_reduce.cuh"

namespace elasticlm::cuda {

inline constexpr int kChunk = 8;  // elements: 16 bytes of a 16-bit type
// Chunks that a lane keeps in registers between the passes over a row: 32 values, rows of up to 1024 elements
// (every encoder of BERT's family up to large). Longer rows are read again for each pass.
inline constexpr int kKeptChunks = 4;

template <typename T>
ELASTICLM_DEVICE void load_chunk(const T* p, float (&x)[kChunk]) {
  const uint4 chunk = *reinterpret_cast<const uint4*>(p);
  const uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack2<T>(pairs[i]);
    x[2 * i] = pair.x;
    x[2 * i + 1] = pair.y;
  }
}
template <>
ELASTICLM_DEVICE void load_chunk<float>(const float* p, float (&x)[kChunk]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 half = reinterpret_cast<const float4*>(p)[i];
    x[4 * i] = half.x;
    x[4 * i + 1] = half.y;
    x[4 * i + 2] = half.z;
    x[4 * i + 3] = half.w;
  }
}

template <typename T>
ELASTICLM_DEVICE void store_chunk(T* p, const float (&x)[kChunk]) {
  *reinterpret_cast<uint4*>(p) = {pack2<T>(x[0], x[1]), pack2<T>(x[2], x[3]), pack2<T>(x[4], x[5]),
                                  pack2<T>(x[6], x[7])};
}
template <>
ELASTICLM_DEVICE void store_chunk<float>(float* p, const float (&x)[kChunk]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    reinterpret_cast<float4*>(p)[i] = {x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]};
  }
}

struct NormWeights {
  const float* gamma = nullptr;  // [hidden_size]
  const float* beta = nullptr;   // [hidden_size]
  int hidden_size = 0;           // a multiple of kChunk
  float eps = 0.0f;
};

ELASTICLM_DEVICE float chunk_sum(const float (&x)[kChunk], float sum) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) sum += x[i];
  return sum;
}
ELASTICLM_DEVICE float chunk_square_sum(const float (&x)[kChunk], float mean, float sum) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) sum = fmaf(x[i] - mean, x[i] - mean, sum);
  return sum;
}

ELASTICLM_DEVICE void normalize_chunk(const NormWeights& norm, int chunk, float mean, float gain,
                                      float (&x)[kChunk]) {
  float gamma[kChunk];
  float beta[kChunk];
  load_chunk(norm.gamma + chunk * kChunk, gamma);
  load_chunk(norm.beta + chunk * kChunk, beta);
#pragma unroll
  for (int i = 0; i < kChunk; ++i) x[i] = fmaf((x[i] - mean) * gain, gamma[i], beta[i]);
}

// y = LayerNorm of the row whose chunks load(chunk, float (&)[kChunk]) gives; y may be where it reads. All 32
// lanes.
template <typename T, typename Load>
ELASTICLM_DEVICE void normalize_chunks(const NormWeights& norm, const Load& load, T* y) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int num_chunks = norm.hidden_size / kChunk;
  const float size = static_cast<float>(norm.hidden_size);
  if (num_chunks <= kKeptChunks * kWarpThreads) {
    float x[kKeptChunks][kChunk];
#pragma unroll
    for (int i = 0; i < kKeptChunks; ++i) {
      if (lane + i * kWarpThreads < num_chunks) load(lane + i * kWarpThreads, x[i]);
    }
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kKeptChunks; ++i) {
      if (lane + i * kWarpThreads < num_chunks) sum = chunk_sum(x[i], sum);
    }
    const float mean = warp_sum(sum) / size;
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kKeptChunks; ++i) {
      if (lane + i * kWarpThreads < num_chunks) squares = chunk_square_sum(x[i], mean, squares);
    }
    const float gain = 1.0f / sqrtf(warp_sum(squares) / size + norm.eps);
    // Stores after all loads of gamma and beta: y may be anything, so a load behind a store would have to
    // wait for it.
#pragma unroll
    for (int i = 0; i < kKeptChunks; ++i) {
      if (lane + i * kWarpThreads < num_chunks)
        normalize_chunk(norm, lane + i * kWarpThreads, mean, gain, x[i]);
    }
#pragma unroll
    for (int i = 0; i < kKeptChunks; ++i) {
      if (lane + i * kWarpThreads < num_chunks) store_chunk(y + (lane + i * kWarpThreads) * kChunk, x[i]);
    }
    return;
  }
  float x[kChunk];
  float sum = 0.0f;
#pragma unroll 1
  for (int chunk = lane; chunk < num_chunks; chunk += kWarpThreads) {
    load(chunk, x);
    sum = chunk_sum(x, sum);
  }
  const float mean = warp_sum(sum) / size;
  float squares = 0.0f;
#pragma unroll 1
  for (int chunk = lane; chunk < num_chunks; chunk += kWarpThreads) {
    load(chunk, x);
    squares = chunk_square_sum(x, mean, squares);
  }
  const float gain = 1.0f / sqrtf(warp_sum(squares) / size + norm.eps);
#pragma unroll 1
  for (int chunk = lane; chunk < num_chunks; chunk += kWarpThreads) {
    load(chunk, x);
    normalize_chunk(norm, chunk, mean, gain, x);
    store_chunk(y + chunk * kChunk, x);
  }
}

// y = LayerNorm(x); x == y allowed.
template <typename T>
ELASTICLM_DEVICE void normalize_row(const NormWeights& norm, const T* x, T* y) {
  normalize_chunks(
      norm, [=](int chunk, float(&values)[kChunk]) { load_chunk(x + chunk * kChunk, values); }, y);
}

// y = the embedding of row `row` of the plan.
template <typename T>
ELASTICLM_DEVICE void embed_row(const DeviceEmbeddingArgs& args, int row, T* y) {
  const T* word = static_cast<const T*>(args.word) + args.input_ids[row] * args.hidden_size;
  const T* position = static_cast<const T*>(args.position) + args.position_ids[row] * args.hidden_size;
  const T* token_type = static_cast<const T*>(args.token_type) + args.token_type_ids[row] * args.hidden_size;
  const NormWeights norm = {args.gamma, args.beta, static_cast<int>(args.hidden_size), args.eps};
  normalize_chunks(
      norm,
      [=](int chunk, float(&values)[kChunk]) {
        float second[kChunk];
        float third[kChunk];
        load_chunk(word + chunk * kChunk, values);
        load_chunk(position + chunk * kChunk, second);
        load_chunk(token_type + chunk * kChunk, third);
#pragma unroll
        for (int i = 0; i < kChunk; ++i) values[i] = values[i] + second[i] + third[i];
      },
      y);
}

}  // namespace elasticlm::cuda
