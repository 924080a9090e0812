// The scalar truth of operand rows, shared by the ops that write them.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "kernels/quantize.h"

namespace elasticlm::ref {

// at(i): element i of the row, within `reach` of `centre`. q: [size], zeros up to the end of the word.
template <typename At>
RowScale quantize_row(const At& at, float centre, float reach, int64_t size, int8_t* q) {
  std::fill_n(q, words_of(size, Precision::kI8) * word_elements(Precision::kI8), int8_t{0});
  if (reach < kLeastAbsmax) return {0.0f, 0, centre};
  const float gain = 127.0f / reach;
  RowScale scale{reach / 127.0f, 0, centre};
  for (int64_t i = 0; i < size; ++i) {
    q[i] = static_cast<int8_t>(std::nearbyint((at(i) - centre) * gain));
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
    const auto [smallest, largest] = std::minmax_element(x, x + size);
    const float centre = 0.5f * *largest + 0.5f * *smallest;
    operand.scales[row] = quantize_row([&](int64_t i) { return x[i]; }, centre,
                                       std::max(*largest - centre, centre - *smallest), size, q);
  }
}

}  // namespace elasticlm::ref
