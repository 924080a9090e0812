// The scalar truth of operand rows, shared by the ops that write them.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "kernels/quantize.h"

namespace elasticlm::ref {

// at(i): element i of the row. q: [size], zeros up to the end of the word.
template <typename At>
RowScale quantize_row(const At& at, int64_t size, int8_t* q) {
  float absmax = 0.0f;
  for (int64_t i = 0; i < size; ++i) absmax = std::max(absmax, std::abs(at(i)));
  std::fill_n(q, words_of(size, Precision::kI8) * word_elements(Precision::kI8), int8_t{0});
  if (absmax < kLeastAbsmax) return {};
  const float gain = 127.0f / absmax;
  RowScale scale{absmax / 127.0f, 0};
  for (int64_t i = 0; i < size; ++i) {
    q[i] = static_cast<int8_t>(std::nearbyint(at(i) * gain));
    scale.sum += q[i];
  }
  return scale;
}

inline void write_operand(const OperandRows& operand, int64_t row, const float* x, int64_t size) {
  if (operand.precision == Precision::kBF16) {
    BF16* const y = static_cast<BF16*>(operand.data) + row * operand.ld;
    std::fill_n(y, words_of(size, Precision::kBF16) * word_elements(Precision::kBF16), BF16{});
    for (int64_t i = 0; i < size; ++i) y[i].bits = f32_to_bf16(x[i]);
  } else if (operand.precision == Precision::kI8) {
    int8_t* const q = static_cast<int8_t*>(operand.data) + row * operand.ld;
    operand.scales[row] = quantize_row([&](int64_t i) { return x[i]; }, size, q);
  }
}

}  // namespace elasticlm::ref
