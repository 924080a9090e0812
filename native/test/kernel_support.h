// Shared by the kernel tests: poisoned memory, error bounds, and a record of the
// worst error.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "test/check.h"
#include "test/isas.h"

namespace elasticlm::test {

inline constexpr double kUnitRoundoff = 0x1p-24;  // of f32

// Bound of the relative error of n f32 roundings in a row (Higham's gamma_n).
inline double gamma_bound(double n) { return n * kUnitRoundoff / (1.0 - n * kUnitRoundoff); }

// A NaN that no arithmetic produces, so that a place never written and a place wrongly written are told
// apart.
inline constexpr uint32_t kPoisonBits = 0x7fc0dead;
inline float poison() { return std::bit_cast<float>(kPoisonBits); }
inline bool is_poison(float value) { return std::bit_cast<uint32_t>(value) == kPoisonBits; }
inline std::vector<float> poisoned(int64_t size) {
  return std::vector<float>(static_cast<size_t>(size), poison());
}

inline bool same_bits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  float normal(float deviation = 1.0f) { return deviation * normal_(engine_); }
  // In [low, high].
  int64_t integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

// The exact value of one output element and how far from it a kernel may be.
struct Bound {
  double value = 0.0;
  double tolerance = 0.0;
};

// Where the error is largest in units of its tolerance.
class WorstError {
 public:
  void add(float actual, const Bound& bound, std::initializer_list<int64_t> coordinate) {
    const double error = std::abs(actual - bound.value);
    const double share = error == 0.0 ? 0.0 : error / bound.tolerance;
    if (share <= share_) return;
    share_ = std::isnan(share) ? INFINITY : share;
    actual_ = actual;
    bound_ = bound;
    coordinate_ = coordinate;
  }

  // Fails when the worst error is beyond its tolerance.
  void check_within(const std::string& subject, const char* file, int line) const {
    if (share_ <= 1.0) return;
    std::string at;
    for (const int64_t index : coordinate_) at += (at.empty() ? "" : ", ") + std::to_string(index);
    char numbers[160];
    std::snprintf(numbers, sizeof(numbers), "received %.9g, expected %.9g, off by %.3g, tolerance %.3g",
                  static_cast<double>(actual_), bound_.value, std::abs(actual_ - bound_.value),
                  bound_.tolerance);
    check(false, subject + ": worst at (" + at + "): " + numbers, file, line);
  }

 private:
  double share_ = 0.0;
  float actual_ = 0.0f;
  Bound bound_;
  std::vector<int64_t> coordinate_;
};

}  // namespace elasticlm::test

#define CHECK_WITHIN(worst, subject) (worst).check_within((subject), __FILE__, __LINE__)
