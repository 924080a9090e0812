#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/quantize.h"
#include "search/rotation.h"
#include "search/vector_index.h"

namespace elasticlm {
namespace {

constexpr uint8_t kZeroCode = 128;
// 1.5 * 2^23: adding it leaves a whole number, rounded to nearest even, in the low bits. A form that the
// compiler turns into vector code for the baseline target.
constexpr float kRoundShift = 12582912.0f;

uint8_t code_of(float q) {
  const float shifted = q + kRoundShift;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  return static_cast<uint8_t>(bits + kZeroCode);
}

// scale * q from `row`, whose elements must be finite.
float quantize(std::span<const float> row, uint8_t* codes) {
  float absmax = 0.0f;
  for (const float element : row) absmax = std::max(absmax, std::abs(element));
  const bool is_zero = absmax < kLeastAbsmax;
  const float gain = is_zero ? 0.0f : 127.0f / absmax;
  for (size_t e = 0; e < row.size(); ++e) codes[e] = code_of(row[e] * gain);
  return is_zero ? 0.0f : absmax / 127.0f;
}

bool is_finite(std::span<const float> row) {
  float nothing = 0.0f;  // NaN beside an infinity or a NaN
  for (const float element : row) nothing += element - element;
  return nothing == 0.0f;
}

}  // namespace

void quantize_vectors(std::span<const float> vectors, int64_t dims, uint8_t* codes, float* scales) {
  const auto stride = static_cast<size_t>(code_stride(dims));
  std::vector<float> rotated(stride);
  for (size_t begin = 0; begin < vectors.size(); begin += static_cast<size_t>(dims)) {
    rotate_vector(vectors.subspan(begin, static_cast<size_t>(dims)), rotated);
    if (is_finite(rotated)) {
      *scales++ = quantize(rotated, codes);
    } else {
      std::fill_n(codes, stride, kZeroCode);
      *scales++ = std::nanf("");
    }
    codes += stride;
  }
}

}  // namespace elasticlm
