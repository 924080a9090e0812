// pooling_forward: one vector per sequence from its hidden states: the first token's row (cls) or the mean of
// all rows, then, if asked, division by the Euclidean norm (a zero vector stays zero).
#pragma once

#include <cstdint>

namespace elasticlm {

enum class Pooling { kCls, kMean };

struct PoolingArgs {
  const float* x = nullptr;  // [S, E] of one sequence, ldx
  float* y = nullptr;        // [E]
  int64_t num_rows = 0;      // S >= 1
  int64_t hidden_size = 0;   // E
  int64_t ldx = 0;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
};

using PoolingForward = void (*)(const PoolingArgs&);

}  // namespace elasticlm
