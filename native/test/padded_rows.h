// Rows of floats as training's kernels read and write them: with a stride, poison between the rows, and an
// end at the last element, so that a sanitizer sees a step too far.
#pragma once

#include <functional>
#include <utility>

#include "kernels/training_kernels.h"
#include "test/kernel_support.h"

namespace elasticlm::test {

struct PaddedRows {
  std::vector<float> values;  // [num_rows, ld]
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ld = 0;

  PaddedRows(int64_t rows, int64_t columns, int64_t padding)
      : num_rows(rows), num_columns(columns), ld(columns + padding) {
    values = poisoned(rows == 0 ? 0 : (rows - 1) * ld + columns);
  }

  float* data() { return values.data(); }
  float& at(int64_t row, int64_t column) { return values[static_cast<size_t>(row * ld + column)]; }
  float at(int64_t row, int64_t column) const { return values[static_cast<size_t>(row * ld + column)]; }

  // use(row, column) for each element.
  template <typename Use>
  void for_each(const Use& use) const {
    for (int64_t row = 0; row < num_rows; ++row) {
      for (int64_t column = 0; column < num_columns; ++column) use(row, column);
    }
  }

  void check_padding(const std::string& subject) const {
    for (int64_t row = 0; row + 1 < num_rows; ++row) {
      for (int64_t column = num_columns; column < ld; ++column) {
        CHECK(is_poison(at(row, column)), subject + ": wrote behind row " + std::to_string(row));
      }
    }
  }

  void check_same_bits(const PaddedRows& other, const std::string& subject) const {
    for_each([&](int64_t row, int64_t column) {
      CHECK(same_bits(at(row, column), other.at(row, column)),
            subject + ": bits differ at (" + std::to_string(row) + ", " + std::to_string(column) +
                "): " + std::to_string(at(row, column)) + " and " + std::to_string(other.at(row, column)));
    });
  }
};

inline PaddedRows random_padded_rows(Random& random, int64_t rows, int64_t columns, int64_t padding,
                                     float mean = 0.0f) {
  PaddedRows x(rows, columns, padding);
  x.for_each([&](int64_t row, int64_t column) { x.at(row, column) = mean + random.normal(); });
  return x;
}

inline std::vector<float> random_floats(Random& random, int64_t size, float mean = 0.0f,
                                        float deviation = 1.0f) {
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = mean + random.normal(deviation);
  return values;
}

// The derivative of f at x[i] in float64. The step of 1e-5 leaves an error of 1e-10 of third derivatives, and
// 1e-16 / 1e-5 of the values of f.
inline double central_difference(const std::function<double(const std::vector<double>&)>& f,
                                 std::vector<double> x, size_t i) {
  constexpr double kStep = 1e-5;
  const double centre = x[i];
  x[i] = centre + kStep;
  const double above = f(x);
  x[i] = centre - kStep;
  return (above - f(x)) / (2.0 * kStep);
}

// A relative error of 1e-5; for gradients near 0 of 1e-2, because the difference has an absolute error.
inline void check_gradient(double gradient, double difference, const std::string& subject) {
  const double tolerance = 1e-5 * std::max(std::abs(gradient), 1e-2);
  CHECK(std::abs(gradient - difference) <= tolerance,
        subject + ": received " + std::to_string(gradient) + ", central difference " +
            std::to_string(difference) + ", tolerance " + std::to_string(tolerance));
}

}  // namespace elasticlm::test
