#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/quantize.h"
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

}  // namespace

void quantize_vectors(std::span<const float> vectors, int64_t dims, uint8_t* codes, float* scales) {
  const int64_t stride = code_stride(dims);
  const int64_t count = static_cast<int64_t>(vectors.size()) / dims;
  for (int64_t i = 0; i < count; ++i) {
    const float* const vector = vectors.data() + i * dims;
    uint8_t* const row = codes + i * stride;
    float absmax = 0.0f;
    float nothing = 0.0f;  // NaN beside an infinity or a NaN
    for (int64_t e = 0; e < dims; ++e) {
      absmax = std::max(absmax, std::abs(vector[e]));
      nothing += vector[e] - vector[e];
    }
    const bool is_finite = nothing == 0.0f;
    const float gain = absmax < kLeastAbsmax || !is_finite ? 0.0f : 127.0f / absmax;
    for (int64_t e = 0; e < dims; ++e) row[e] = code_of(is_finite ? vector[e] * gain : 0.0f);
    std::fill(row + dims, row + stride, kZeroCode);
    scales[i] = !is_finite ? std::nanf("") : gain == 0.0f ? 0.0f : absmax / 127.0f;
  }
}

}  // namespace elasticlm
