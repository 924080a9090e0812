// softmax_forward and softmax_difference on every instruction set, against f64.
#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>

#include "kernels/training_kernels.h"
#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

// Error of an exponential: 1.2e-7 of the function (vector_math.h), and the roundings of x - max, of scale and
// of their product with log2 e, which the exponential turns into shares of itself: 4 times |argument| each.
double exponential_error(double argument) { return 1.2e-7 + gamma_bound(4) * std::abs(argument); }

struct Row {
  std::vector<double> p;
  std::vector<double> log_p;
  std::vector<double> error;  // relative, of each p
  double log_sum = 0.0;
  double sum_error = 0.0;  // relative, of the sum of exponentials
};

// `scale` times the f32 values, and how far from it a kernel may be: a sum of at most kSoftmaxSumColumns
// positive terms adds gamma of their number, the mean of the terms' own errors, and two roundings follow.
Row exact(const std::vector<float>& x, double scale) {
  Row row;
  const double largest = scale * *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (const float value : x) sum += std::exp(scale * value - largest);
  row.log_sum = largest + std::log(sum);
  for (const float value : x) {
    row.log_p.push_back(scale * value - row.log_sum);
    row.p.push_back(std::exp(row.log_p.back()));
    row.error.push_back(exponential_error(scale * value - largest));
  }
  const auto terms = static_cast<double>(std::min<int64_t>(std::ssize(x), kSoftmaxSumColumns));
  row.sum_error = gamma_bound(terms);
  for (size_t c = 0; c < x.size(); ++c) row.sum_error += row.p[c] * row.error[c];
  for (double& error : row.error) error += row.sum_error + gamma_bound(2);
  return row;
}

// Exponentials below 2^-125 may be 0.
constexpr double kSmallest = 0x1p-125;

constexpr int64_t kColumns[] = {1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100, 257, 1024, 1025, 2100};

TEST_CASE("softmax_forward: probabilities and log sums of every width") {
  for (const Isa isa : supported_isas()) {
    Random random(1);
    for (const int64_t num_columns : kColumns) {
      const int64_t num_rows = 3;
      const int64_t ldx = num_columns + 5;
      const float scale = 0.3f;
      std::vector<float> x = poisoned(num_rows * ldx);
      std::vector<Row> rows;
      for (int64_t r = 0; r < num_rows; ++r) {
        std::vector<float> values;
        for (int64_t c = 0; c < num_columns; ++c) values.push_back(random.normal(r == 2 ? 100.0f : 3.0f));
        std::copy(values.begin(), values.end(), x.begin() + r * ldx);
        rows.push_back(exact(values, scale));
      }
      std::vector<double> log_sums(static_cast<size_t>(num_rows), std::nan(""));
      training_kernels(isa).softmax_forward({.x = x.data(),
                                             .log_sums = log_sums.data(),
                                             .num_rows = num_rows,
                                             .num_columns = num_columns,
                                             .ldx = ldx,
                                             .scale = scale});
      WorstError worst;
      for (int64_t r = 0; r < num_rows; ++r) {
        const Row& row = rows[static_cast<size_t>(r)];
        for (int64_t c = 0; c < num_columns; ++c) {
          const auto at = static_cast<size_t>(c);
          worst.add(x[static_cast<size_t>(r * ldx + c)], {row.p[at], row.p[at] * row.error[at] + kSmallest},
                    {r, c});
        }
        for (int64_t c = num_columns; c < ldx; ++c)
          CHECK(is_poison(x[static_cast<size_t>(r * ldx + c)]), "wrote behind the row");
        CHECK(std::abs(log_sums[static_cast<size_t>(r)] - row.log_sum) <= row.sum_error + 1e-15,
              std::string(isa_name(isa)) + ": log sum " + std::to_string(log_sums[static_cast<size_t>(r)]) +
                  ", expected " + std::to_string(row.log_sum));
      }
      CHECK_WITHIN(worst, std::string(isa_name(isa)) + ", " + std::to_string(num_columns) + " columns");
    }
  }
}

TEST_CASE("softmax_difference: differences and divergences of every width") {
  for (const Isa isa : supported_isas()) {
    Random random(2);
    for (const int64_t num_columns : kColumns) {
      const int64_t num_rows = 3;
      const int64_t ldx = num_columns + 5;
      const int64_t ldy = num_columns + 2;
      const float scale = 0.3f;
      std::vector<float> x = poisoned(num_rows * ldx);
      std::vector<float> y = poisoned(num_rows * ldy);
      std::vector<Row> students;
      std::vector<Row> teachers;
      for (int64_t r = 0; r < num_rows; ++r) {
        std::vector<float> of_student;
        std::vector<float> of_teacher;
        for (int64_t c = 0; c < num_columns; ++c) {
          of_student.push_back(random.normal(r == 2 ? 100.0f : 3.0f));
          of_teacher.push_back(r == 1 ? of_student.back() : random.normal(3.0f));
        }
        std::copy(of_student.begin(), of_student.end(), x.begin() + r * ldx);
        std::copy(of_teacher.begin(), of_teacher.end(), y.begin() + r * ldy);
        students.push_back(exact(of_student, scale));
        teachers.push_back(exact(of_teacher, scale));
      }
      std::vector<double> divergences(static_cast<size_t>(num_rows), std::nan(""));
      training_kernels(isa).softmax_difference({.x = x.data(),
                                                .y = y.data(),
                                                .divergences = divergences.data(),
                                                .num_rows = num_rows,
                                                .num_columns = num_columns,
                                                .ldx = ldx,
                                                .ldy = ldy,
                                                .scale = scale});
      WorstError worst;
      for (int64_t r = 0; r < num_rows; ++r) {
        const Row& p = students[static_cast<size_t>(r)];
        const Row& t = teachers[static_cast<size_t>(r)];
        double divergence = 0.0;
        double tolerance = p.sum_error + t.sum_error + 1e-15;
        for (int64_t c = 0; c < num_columns; ++c) {
          const auto at = static_cast<size_t>(c);
          const double value = p.p[at] - t.p[at];
          worst.add(x[static_cast<size_t>(r * ldx + c)],
                    {value, p.p[at] * p.error[at] + t.p[at] * t.error[at] + kUnitRoundoff * std::abs(value) +
                                2.0 * kSmallest},
                    {r, c});
          // Each term is off by the error of t, the sum's, and the roundings of the difference of arguments.
          const double term = t.p[at] * (t.log_p[at] - p.log_p[at]);
          divergence += term;
          tolerance +=
              t.p[at] *
              ((t.error[at] + t.sum_error + gamma_bound(3)) *
               (std::abs(t.log_p[at]) + std::abs(p.log_p[at]) + std::abs(t.log_sum) + std::abs(p.log_sum)));
        }
        CHECK(std::abs(divergences[static_cast<size_t>(r)] - divergence) <= tolerance,
              std::string(isa_name(isa)) + ", " + std::to_string(num_columns) + " columns, row " +
                  std::to_string(r) + ": divergence " + std::to_string(divergences[static_cast<size_t>(r)]) +
                  ", expected " + std::to_string(divergence) + ", tolerance " + std::to_string(tolerance));
        for (int64_t c = num_columns; c < ldx; ++c)
          CHECK(is_poison(x[static_cast<size_t>(r * ldx + c)]), "wrote behind the row");
        for (int64_t c = num_columns; c < ldy; ++c)
          CHECK(is_poison(y[static_cast<size_t>(r * ldy + c)]), "wrote behind the teacher's row");
      }
      CHECK_WITHIN(worst, std::string(isa_name(isa)) + ", " + std::to_string(num_columns) + " columns");
    }
  }
}

TEST_CASE("softmax: values of ±1e30 give finite probabilities, a NaN makes its row NaN and no other") {
  for (const Isa isa : supported_isas()) {
    for (const int64_t num_columns : {2, 40, 1100}) {
      std::vector<float> x(static_cast<size_t>(2 * num_columns));
      for (size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? 1e30f : -1e30f;
      x[static_cast<size_t>(num_columns)] = NAN;
      std::vector<float> y(x.size(), 1.0f);
      std::vector<float> same = x;
      double sums[2];
      const TrainingKernels& kernels = training_kernels(isa);
      kernels.softmax_forward(
          {.x = x.data(), .log_sums = sums, .num_rows = 2, .num_columns = num_columns, .ldx = num_columns});
      kernels.softmax_difference({.x = same.data(),
                                  .y = y.data(),
                                  .divergences = sums,
                                  .num_rows = 2,
                                  .num_columns = num_columns,
                                  .ldx = num_columns,
                                  .ldy = num_columns});
      CHECK(std::isfinite(sums[0]) && std::isnan(sums[1]), std::string(isa_name(isa)) + ": divergences");
      for (size_t i = 0; i < x.size(); ++i) {
        const bool is_second = i >= x.size() / 2;
        CHECK(std::isnan(x[i]) == is_second,
              std::string(isa_name(isa)) + ": probability " + std::to_string(i));
        CHECK(std::isnan(same[i]) == is_second,
              std::string(isa_name(isa)) + ": difference " + std::to_string(i));
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
