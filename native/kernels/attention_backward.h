// attention_backward: gradients of kernels/attention.h (f32) for some heads of one sequence. With P =
// softmax(scale Q Kᵀ) and dC the gradient of the context C = P V:
//   dV = Pᵀ dC,  dP = dC Vᵀ,  dS = P * (dP - rowsum(P * dP)),  dQ = scale dS K,  dK = scale dSᵀ Q
// P is computed anew from q and k. Heads share nothing, so any split over heads gives the same bits; within a
// head every sum has one order.
#pragma once

#include <cstdint>

namespace elasticlm {

struct AttentionBackwardArgs {
  const float* qkv =
      nullptr;  // head h: [S, 3 D] at qkv + h * head_stride, row r at + r * ldqkv, as in the forward
  const float* dcontext =
      nullptr;               // [S, kept heads * D], row r of head h at dcontext + r * lddcontext + h * D
  float* dqkv = nullptr;     // like qkv, the same strides: dq | dk | dv, written; overlaps nothing
  float* scratch = nullptr;  // the kernel's own measure of floats for (S, D), cache-line aligned
  int64_t head_stride = 0;
  int64_t ldqkv = 0;
  int64_t lddcontext = 0;
  int64_t num_rows = 0;  // S
  int64_t head_dim = 0;  // D, a multiple of 8
  int64_t head_begin = 0;
  int64_t head_end = 0;
  float scale = 1.0f;  // 1 / sqrt(D)
};

using AttentionBackward = void (*)(const AttentionBackwardArgs&);
// Scratch that one call needs; grows with S, at most a few copies of one head's rows and a bounded number of
// rows of P (not S * S beyond what fits a core's cache). Never falls as S grows.
using AttentionBackwardScratchFloats = int64_t (*)(int64_t num_rows, int64_t head_dim);

}  // namespace elasticlm
