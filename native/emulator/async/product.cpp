#include "emulator/async/product.h"

#include <cmath>

namespace elasticlm::emulator {
namespace {

constexpr int kChunkElements = 8;

float round_towards_zero(double value) {
  const auto nearest = static_cast<float>(value);
  return std::abs(static_cast<double>(nearest)) > std::abs(value) ? std::nextafter(nearest, 0.0f) : nearest;
}

}  // namespace

std::vector<OperandChunk> operand_chunks(const MatrixDescriptor& descriptor, const OperandShape& shape) {
  std::vector<OperandChunk> chunks;
  const int mn_step = shape.mn_major ? kChunkElements : 1;
  const int k_step = shape.mn_major ? 1 : kChunkElements;
  for (int k = 0; k < kProductDepth; k += k_step) {
    for (int mn = 0; mn < shape.extent; mn += mn_step) {
      chunks.push_back({.address = element_address(descriptor, shape, mn, k), .mn = mn, .k = k});
    }
  }
  return chunks;
}

void product_m64k16(std::vector<float>& d, const std::vector<float>& a, const std::vector<float>& b, int n,
                    bool accumulate) {
  const auto columns = static_cast<size_t>(n);
  std::vector<double> sums(columns);
  for (size_t row = 0; row < kProductRows; ++row) {
    float* d_row = d.data() + row * columns;
    for (size_t column = 0; column < columns; ++column) sums[column] = accumulate ? d_row[column] : 0.0;
    for (size_t k = 0; k < kProductDepth; ++k) {
      const float a_element = a[k * kProductRows + row];
      const float* b_row = b.data() + k * columns;
      // Products of 16-bit elements are exact in f32, and so are their sums in f64 but for spans of 2^30.
      for (size_t column = 0; column < columns; ++column) sums[column] += a_element * b_row[column];
    }
    for (size_t column = 0; column < columns; ++column) d_row[column] = round_towards_zero(sums[column]);
  }
}

}  // namespace elasticlm::emulator
