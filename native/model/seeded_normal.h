// Normal numbers from a seed alone: the same bits on every machine and standard library, since only integer
// arithmetic and correctly rounded operations take part.
#pragma once

#include <cstdint>
#include <string_view>

namespace elasticlm {

class SeededNormal {
 public:
  // One stream for each name, so that a tensor's numbers do not depend on which others exist or on their
  // order.
  SeededNormal(uint64_t seed, std::string_view name) : state_(seed ^ fnv1a(name)) {}

  // Near enough to a standard normal: the sum of twelve uniform 16-bit numbers (Irwin-Hall), centred; its
  // variance is that of one number times 12, (2^32 - 1), so 2^-16 scales it to 1. Box-Muller would need log
  // and cos, whose last bits differ between C libraries.
  float next() {
    int32_t sum = 0;
    for (int word = 0; word < 3; ++word) {
      const uint64_t bits = next_bits();
      for (int shift = 0; shift < 64; shift += 16) sum += static_cast<int32_t>(bits >> shift & 0xffff);
    }
    constexpr int32_t kMean = 12 * 65535 / 2;
    return static_cast<float>(sum - kMean) * 0x1p-16f;
  }

 private:
  static uint64_t fnv1a(std::string_view text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return hash;
  }

  // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
  uint64_t next_bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

}  // namespace elasticlm
