// Sums in f64 in one fixed order, and what losses over short rows do with them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace elasticlm {

inline double sum_of(const std::vector<double>& parts) {
  double sum = 0.0;
  for (const double part : parts) sum += part;
  return sum;
}

// Σ term(i) over [0, size) in eight chains, so that the sum waits for no addition and is vectorised.
template <typename Term>
double sum_terms(int64_t size, const Term& term) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    for (int64_t lane = 0; lane < 8; ++lane) sums[lane] += term(i + lane);
  }
  for (; i < size; ++i) sums[0] += term(i);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

inline double dot(const float* a, const float* b, int64_t size) {
  return sum_terms(size, [&](int64_t i) { return static_cast<double>(a[i]) * b[i]; });
}

// x_j becomes x_j - log Σ exp(x), stable for any finite x; a NaN makes all NaN.
inline void to_log_softmax(std::vector<double>& x) {
  if (x.empty()) return;
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (const double value : x) sum += std::exp(value - largest);
  const double log_sum = largest + std::log(sum);
  for (double& value : x) value -= log_sum;
}

}  // namespace elasticlm
