#include <array>
#include <limits>
#include <numbers>

#include "test/operand_fixture.h"
#include "test/padded_rows.h"

namespace elasticlm::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double exact_gelu(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }
double exact_slope(double x) {
  const double density = std::exp(-0.5 * x * x) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * density;
}

// vector_math.h's bounds: of gelu, measured in vector_math_test.cpp, and of its derivative. The latter's
// parts at most, in units of 1e-9 and each at its own worst |x|: fit of the tail 10, its last sum and
// coefficients 45, its argument 29; x φ(x) 63 by its exponent, exp2 and two products; the last two sums 30
// and 60. Where they meet (|x| from 1 to 1.5) they come to 175, without fused multiply-add to 195.
double gelu_tolerance(double x) { return 1e-7 * std::max(1.0, std::abs(x)); }
constexpr double kSlopeTolerance = 2e-7;

GeluArgs forward_args(const PaddedRows& x, void* y, Precision precision, int64_t ldy) {
  GeluArgs args;
  args.x = x.values.data();
  args.y = y;
  args.y_precision = precision;
  args.num_rows = x.num_rows;
  args.num_columns = x.num_columns;
  args.ldx = x.ld;
  args.ldy = ldy;
  return args;
}

GeluBackwardArgs backward_args(const PaddedRows& x, const PaddedRows& dy, PaddedRows& dx, PaddedRows& y) {
  GeluBackwardArgs args;
  args.x = x.values.data();
  args.dy = dy.values.data();
  args.dx = dx.data();
  args.y = y.data();
  args.num_rows = x.num_rows;
  args.num_columns = x.num_columns;
  args.ldx = x.ld;
  args.lddy = dy.ld;
  return args;
}

// Checks forward and backward at x with dy against the exact values, and that both give the same y.
void check_exact(const PaddedRows& x, const PaddedRows& dy, const std::string& subject) {
  for (const Isa isa : supported_isas()) {
    const std::string where = std::string(isa_name(isa)) + " " + subject;
    PaddedRows y(x.num_rows, x.num_columns, 2);
    training_kernels(isa).gelu_forward(forward_args(x, y.data(), Precision::kF32, y.ld));
    PaddedRows dx(x.num_rows, x.num_columns, dy.ld - dy.num_columns);
    PaddedRows again(x.num_rows, x.num_columns, x.ld - x.num_columns);
    training_kernels(isa).gelu_backward(backward_args(x, dy, dx, again));
    WorstError worst_y;
    WorstError worst_dx;
    x.for_each([&](int64_t row, int64_t column) {
      const double value = x.at(row, column);
      const double gradient = dy.at(row, column);
      const double exact = gradient * exact_slope(value);
      worst_y.add(y.at(row, column), {exact_gelu(value), gelu_tolerance(value)}, {row, column});
      worst_dx.add(
          dx.at(row, column),
          {exact, std::abs(gradient) * kSlopeTolerance + gamma_bound(1) * std::abs(exact) + 0x1p-149},
          {row, column});
    });
    CHECK_WITHIN(worst_y, where + " y");
    CHECK_WITHIN(worst_dx, where + " dx");
    again.check_same_bits(y, where + ": y of the backward");
    y.check_padding(where);
    dx.check_padding(where);
    again.check_padding(where);
  }
}

TEST_CASE("gelu: every width gives the exact values and gradients") {
  Random random(1);
  for (int64_t columns = 0; columns <= 70; ++columns) {
    const int64_t rows = 1 + columns % 3;
    PaddedRows x = random_padded_rows(random, rows, columns, 3);
    x.for_each([&](int64_t row, int64_t column) { x.at(row, column) *= 2.0f; });
    check_exact(x, random_padded_rows(random, rows, columns, 5), std::to_string(columns) + " columns");
  }
}

TEST_CASE("gelu_backward: the derivative keeps its absolute error from the smallest to the largest input") {
  std::vector<float> inputs;
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 16381) {  // a prime
    inputs.push_back(std::bit_cast<float>(bits));
    inputs.push_back(-std::bit_cast<float>(bits));
  }
  // Where it is largest, and finely around the bounds of the table's intervals.
  for (int step = -80000; step <= 80000; ++step) inputs.push_back(static_cast<float>(step) * 1e-4f);
  for (int i = 0; i < 16; ++i) {
    const float bound = 0.375f * (static_cast<float>(i) + 0.5f);
    for (int32_t step = -50; step <= 50; ++step) {
      inputs.push_back(std::bit_cast<float>(std::bit_cast<int32_t>(bound) + step));
      inputs.push_back(-inputs.back());
    }
  }
  const auto size = static_cast<int64_t>(inputs.size());
  PaddedRows x(1, size, 0);
  x.values = inputs;
  PaddedRows ones(1, size, 0);
  ones.values.assign(inputs.size(), 1.0f);
  check_exact(x, ones, "all inputs");
}

TEST_CASE("gelu: NaN stays, infinities have a slope of 0 and 1") {
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::kRef) continue;  // inf * φ(inf) is NaN in the definition
    PaddedRows x(1, 5, 0), dy(1, 5, 0), dx(1, 5, 0), y(1, 5, 0);
    x.values = {NAN, kInfinity, -kInfinity, 3e38f, -3e38f};
    dy.values.assign(5, 2.0f);
    training_kernels(isa).gelu_backward(backward_args(x, dy, dx, y));
    CHECK(std::isnan(y.values[0]) && std::isnan(dx.values[0]), std::string(isa_name(isa)) + " loses NaN");
    CHECK(y.values[1] == kInfinity && y.values[3] == 3e38f, std::string(isa_name(isa)) + " y of large x");
    const std::array<float, 4> slopes = {1.0f, 0.0f, 1.0f, 0.0f};
    for (size_t i = 0; i < slopes.size(); ++i) {
      CHECK(std::abs(dx.values[i + 1] - 2.0f * slopes[i]) < 1e-12f,
            std::string(isa_name(isa)) + " slope of large x");
    }
  }
}

TEST_CASE("gelu_forward: rows in bf16 are the f32 rows, rounded, zeros up to the word") {
  Random random(2);
  for (int64_t columns = 1; columns <= 70; ++columns) {
    PaddedRows x = random_padded_rows(random, 3, columns, 1);
    for (const Isa isa : supported_isas()) {
      PaddedRows y(3, columns, 0);
      training_kernels(isa).gelu_forward(forward_args(x, y.data(), Precision::kF32, y.ld));
      OperandMemory operand(Precision::kBF16, 3, columns, 2);
      const OperandRows rows = operand.rows();
      training_kernels(isa).gelu_forward(forward_args(x, rows.data, Precision::kBF16, rows.ld));
      for (int64_t row = 0; row < 3; ++row) {
        const float* const first = y.data() + row * y.ld;
        operand.check_row(row, {first, first + columns}, isa, "gelu");
      }
    }
  }
}

TEST_CASE("gelu_backward: in place the bits are the same") {
  Random random(3);
  PaddedRows x = random_padded_rows(random, 4, 53, 2);
  PaddedRows dy = random_padded_rows(random, 4, 53, 4);
  for (const Isa isa : supported_isas()) {
    PaddedRows dx(4, 53, 4), y(4, 53, 2);
    training_kernels(isa).gelu_backward(backward_args(x, dy, dx, y));
    PaddedRows place_x = x, place_dy = dy;
    training_kernels(isa).gelu_backward(backward_args(place_x, place_dy, place_dy, place_x));
    place_x.check_same_bits(y, std::string(isa_name(isa)) + " y");
    place_dy.check_same_bits(dx, std::string(isa_name(isa)) + " dx");
  }
}

TEST_CASE("gelu: the derivative agrees with central differences of the forward in float64") {
  const auto f = [](const std::vector<double>& x) { return exact_gelu(x[0]); };
  for (double x = -6.0; x <= 6.0; x += 0.0625) {
    check_gradient(exact_slope(x), central_difference(f, {x}, 0), "x " + std::to_string(x));
  }
}

}  // namespace
}  // namespace elasticlm::test
