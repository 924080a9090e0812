// attention_forward: softmax(scale · Q Kᵀ) V for some heads and some query rows of one sequence, no mask
// (sequences are packed, so every row of a sequence sees exactly its own sequence).
//
// Q, K and V of one head stand together: head h (by its place among the kept heads) is a matrix [S, 3 D] at
// qkv + h * head_stride, row r at + r * ldqkv, holding q | k | v of D elements each. f32 in and
// out, or bf16 in and out: then scores and softmax are f32, sums are f32, and a row's weights are rounded to
// bf16 before they meet V.
//
// Bits of a row's context depend only on that row's q and on its sequence's K and V: not on head_begin,
// query_begin or how the work was split. Each call lays out K of its heads anew, which costs as much as 2 to
// 3 query rows: parts of 32 rows or more lose under 4% to it, parts of 8 rows a quarter.
#pragma once

#include <cstdint>

#include "core/precision.h"

namespace elasticlm {

template <typename Element>
struct AttentionArgsOf {
  const Element* qkv = nullptr;  // [kept heads][S, 3 D]
  Element* context = nullptr;    // [S, kept heads * D], row r of head h at context + r * ldcontext + h * D
  float* scratch = nullptr;      // the kernel's own measure of floats for (S, D), cache-line aligned
  int64_t head_stride = 0;
  int64_t ldqkv = 0;
  int64_t ldcontext = 0;
  int64_t num_rows = 0;  // S
  int64_t head_dim = 0;  // D, a multiple of 8
  int64_t head_begin = 0;
  int64_t head_end = 0;
  int64_t query_begin = 0;
  int64_t query_end = 0;
  float scale = 1.0f;  // 1 / sqrt(D); positive
};

using AttentionArgs = AttentionArgsOf<float>;
using AttentionBf16Args = AttentionArgsOf<BF16>;

using AttentionForward = void (*)(const AttentionArgs&);
using AttentionBf16Forward = void (*)(const AttentionBf16Args&);
// Scratch that one call needs; grows with S, not with S * S beyond what fits a core's cache. Never falls as S
// grows: what is enough for the longest sequence is enough for all.
using AttentionScratchFloats = int64_t (*)(int64_t num_rows, int64_t head_dim);

}  // namespace elasticlm
