#include "search/rotation.h"

#include <algorithm>
#include <cmath>

namespace elasticlm {
namespace {

// One bit for each place, from the mixing step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
bool is_negated(uint64_t place) {
  uint64_t z = (place + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return ((z ^ (z >> 31)) & 1) != 0;
}

// x H / sqrt(size), size a power of two.
void transform(float* x, size_t size) {
  for (size_t half = 1; half < size; half *= 2) {
    for (size_t begin = 0; begin < size; begin += 2 * half) {
      for (size_t i = begin; i < begin + half; ++i) {
        const float a = x[i];
        const float b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const float gain = 1.0f / std::sqrt(static_cast<float>(size));
  for (size_t i = 0; i < size; ++i) x[i] *= gain;
}

}  // namespace

void rotate_vector(std::span<const float> vector, std::span<float> rotated) {
  const size_t block = rotated.size() & (~rotated.size() + 1);
  const size_t num_blocks = rotated.size() / block;
  std::fill(rotated.begin(), rotated.end(), 0.0f);
  for (size_t e = 0; e < vector.size(); ++e) {
    rotated[e % num_blocks * block + e / num_blocks] = is_negated(e) ? -vector[e] : vector[e];
  }
  for (size_t begin = 0; begin < rotated.size(); begin += block) transform(rotated.data() + begin, block);
}

}  // namespace elasticlm
