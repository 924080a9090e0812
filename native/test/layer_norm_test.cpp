#include <algorithm>

#include "test/operand_fixture.h"

namespace elasticlm::test {
namespace {

struct Rows {
  std::vector<float> values;  // [num_rows, ld], padding poisoned
  int64_t num_rows = 0;
  int64_t hidden_size = 0;
  int64_t ld = 0;

  float* row(int64_t r) { return values.data() + r * ld; }
};

Rows make_rows(int64_t num_rows, int64_t hidden_size, int64_t padding) {
  Rows rows{{}, num_rows, hidden_size, hidden_size + padding};
  rows.values = poisoned((num_rows - 1) * rows.ld + hidden_size);  // ends with the last element
  return rows;
}

std::vector<float> random_vector(Random& random, int64_t size, float mean, float deviation) {
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = mean + random.normal(deviation);
  return values;
}

struct Norm {
  std::vector<float> gamma;
  std::vector<float> beta;
  float eps = 1e-12f;
};

Norm random_norm(Random& random, int64_t size) {
  return {random_vector(random, size, 1.0f, 0.2f), random_vector(random, size, 0.0f, 0.2f), 1e-12f};
}

LayerNormArgs make_args(Rows& x, Rows& y, const Norm& norm) {
  LayerNormArgs args;
  args.x = x.values.data();
  args.gamma = norm.gamma.data();
  args.beta = norm.beta.data();
  args.y = y.values.data();
  args.num_rows = x.num_rows;
  args.hidden_size = x.hidden_size;
  args.ldx = x.ld;
  args.ldy = y.ld;
  args.eps = norm.eps;
  return args;
}

// The exact LayerNorm of a row, and its tolerance.
//
// A sum of E terms in at least four lanes and four chains is at most n = E / 16 + 8 additions deep, so the
// mean is off by dm <= gamma(n + 1) mean|x|. Centred values carry one rounding and the shift dm, which adds
// dm² to the variance: its relative error is rv <= gamma(n + 5) + (dm² + eps's own rounding) / (variance +
// eps), half of which reaches the gain. The gain, two products and the last sum round once each.
std::vector<Bound> exact_layer_norm(const float* x, const Norm& norm, int64_t size) {
  double mean = 0.0;
  double magnitude = 0.0;
  for (int64_t e = 0; e < size; ++e) {
    mean += x[e];
    magnitude += std::abs(x[e]);
  }
  mean /= static_cast<double>(size);
  magnitude /= static_cast<double>(size);
  double variance = 0.0;
  for (int64_t e = 0; e < size; ++e) variance += (x[e] - mean) * (x[e] - mean);
  variance /= static_cast<double>(size);
  const double depth = static_cast<double>(size) / 16 + 8;
  const double shift = gamma_bound(depth + 1) * magnitude;
  const double variance_error = gamma_bound(depth + 5) + shift * shift / (variance + norm.eps);
  const double gain = 1.0 / std::sqrt(variance + norm.eps);
  std::vector<Bound> bounds(static_cast<size_t>(size));
  for (size_t e = 0; e < bounds.size(); ++e) {
    const double scaled = (x[e] - mean) * gain * norm.gamma[e];
    const double value = scaled + norm.beta[e];
    bounds[e].value = value;
    bounds[e].tolerance = std::abs(norm.gamma[e]) * gain * shift * (1.0 + variance_error) +
                          std::abs(scaled) * (variance_error + gamma_bound(6)) +
                          gamma_bound(2) * std::abs(value);
  }
  return bounds;
}

void check_exact(const Rows& source, const Norm& norm, const std::string& subject) {
  for (const Isa isa : supported_isas()) {
    Rows x = source;
    Rows y = make_rows(x.num_rows, x.hidden_size, 7);
    kernel_table(isa).layer_norm_forward(make_args(x, y, norm));
    WorstError worst;
    for (int64_t row = 0; row < x.num_rows; ++row) {
      const std::vector<Bound> bounds = exact_layer_norm(x.row(row), norm, x.hidden_size);
      for (int64_t e = 0; e < x.hidden_size; ++e)
        worst.add(y.row(row)[e], bounds[static_cast<size_t>(e)], {row, e});
      for (int64_t e = x.hidden_size; e < y.ld && row + 1 < y.num_rows; ++e) {
        CHECK(is_poison(y.row(row)[e]), std::string(isa_name(isa)) + " wrote into the padding of " + subject);
      }
    }
    CHECK_WITHIN(worst, std::string(isa_name(isa)) + " " + subject + " E=" + std::to_string(x.hidden_size));
  }
}

Rows random_rows(Random& random, int64_t num_rows, int64_t hidden_size, float mean) {
  Rows rows = make_rows(num_rows, hidden_size, 3);
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t e = 0; e < hidden_size; ++e) rows.row(row)[e] = mean + random.normal();
  }
  return rows;
}

TEST_CASE("layer_norm: every row width, remainders included, gives the exact result") {
  Random random(1);
  for (int64_t size = 1; size <= 150; ++size) {
    check_exact(random_rows(random, 3, size, 0.0f), random_norm(random, size), "normal");
  }
  for (const int64_t size : {384, 391, 768, 1024, 4096}) {
    check_exact(random_rows(random, 5, size, 0.0f), random_norm(random, size), "normal");
  }
}

TEST_CASE("layer_norm: a mean far above the deviation does not cancel the variance away") {
  Random random(2);
  for (const float mean : {100.0f, -10000.0f}) {
    check_exact(random_rows(random, 4, 384, mean), random_norm(random, 384), "mean " + std::to_string(mean));
  }
}

TEST_CASE("layer_norm: a constant row gives beta") {
  Random random(3);
  for (const Isa isa : supported_isas()) {
    Rows x = make_rows(1, 64, 0);
    std::fill(x.values.begin(), x.values.end(), 0.5f);
    Rows y = make_rows(1, 64, 0);
    const Norm norm = random_norm(random, 64);
    kernel_table(isa).layer_norm_forward(make_args(x, y, norm));
    for (size_t e = 0; e < 64; ++e)
      CHECK(y.values[e] == norm.beta[e], std::string(isa_name(isa)) + " moved a constant row");
  }
}

TEST_CASE("layer_norm: in place and at another place in the batch the bits are the same") {
  Random random(4);
  for (const Isa isa : supported_isas()) {
    for (const int64_t size : {31, 384, 777}) {
      Rows x = random_rows(random, 6, size, 0.3f);
      const Norm norm = random_norm(random, size);
      Rows y = make_rows(6, size, 1);
      kernel_table(isa).layer_norm_forward(make_args(x, y, norm));
      Rows alone = make_rows(1, size, 0);
      std::copy_n(x.row(4), size, alone.row(0));
      kernel_table(isa).layer_norm_forward(make_args(alone, alone, norm));
      kernel_table(isa).layer_norm_forward(make_args(x, x, norm));
      for (int64_t e = 0; e < size; ++e) {
        CHECK(same_bits(x.row(4)[e], y.row(4)[e]),
              std::string(isa_name(isa)) + " in place differs at " + std::to_string(e));
        CHECK(same_bits(alone.row(0)[e], y.row(4)[e]),
              std::string(isa_name(isa)) + " alone differs at " + std::to_string(e));
      }
    }
  }
}

std::vector<float> values_of(const Rows& rows, int64_t row) {
  const float* const first = rows.values.data() + row * rows.ld;
  return {first, first + rows.hidden_size};
}

// The operand's rows are the f32 rows, rounded, and those have the bits they have without an operand; in
// place and not.
void check_operand(const Rows& source, const Norm& norm, const std::string& subject) {
  for (const Isa isa : supported_isas()) {
    Rows plain = make_rows(source.num_rows, source.hidden_size, 2);
    Rows x = source;
    kernel_table(isa).layer_norm_forward(make_args(x, plain, norm));
    for (const Precision precision : kOperandPrecisions) {
      for (const bool in_place : {false, true}) {
        x = source;
        Rows elsewhere = make_rows(source.num_rows, source.hidden_size, 2);
        Rows& y = in_place ? x : elsewhere;
        OperandMemory operand(precision, x.num_rows, x.hidden_size, in_place ? 0 : 3);
        LayerNormArgs args = make_args(x, y, norm);
        args.operand = operand.rows();
        kernel_table(isa).layer_norm_forward(args);
        for (int64_t row = 0; row < x.num_rows; ++row) {
          const std::vector<float> values = values_of(y, row);
          for (int64_t e = 0; e < x.hidden_size; ++e) {
            CHECK(same_bits(values[static_cast<size_t>(e)], plain.row(row)[e]),
                  std::string(isa_name(isa)) + " " + subject + ": the f32 row differs beside an operand at " +
                      std::to_string(e));
          }
          operand.check_row(row, values, isa, subject);
        }
      }
    }
  }
}

TEST_CASE("layer_norm: operand rows of every width are the f32 rows, rounded") {
  Random random(5);
  for (int64_t size = 1; size <= 70; ++size) {
    check_operand(random_rows(random, 1 + size % 6, size, 0.0f), random_norm(random, size), "normal");
  }
  for (const int64_t size : {384, 391, 768, 1536}) {
    check_operand(random_rows(random, 6, size, 0.0f), random_norm(random, size), "normal");
  }
}

TEST_CASE("layer_norm: operand rows of ties, zeros, denormals and the largest numbers") {
  Random random(6);
  for (const std::vector<float>& beta : hard_rows()) {
    const auto size = static_cast<int64_t>(beta.size());
    const Norm norm{std::vector<float>(beta.size(), 0.0f), beta, 1e-12f};  // y is beta
    check_operand(random_rows(random, 5, size, 0.0f), norm, "hard values");
  }
}

TEST_CASE("layer_norm: an operand row is the same alone and at every place among up to nine rows") {
  Random random(7);
  for (int64_t num_rows = 1; num_rows <= 9; ++num_rows) {
    const int64_t size = 60 + num_rows;
    Rows x = random_rows(random, num_rows, size, 0.1f);
    const Norm norm = random_norm(random, size);
    for (const Isa isa : supported_isas()) {
      for (const Precision precision : kOperandPrecisions) {
        OperandMemory together(precision, num_rows, size, 1);
        Rows y = make_rows(num_rows, size, 0);
        LayerNormArgs args = make_args(x, y, norm);
        args.operand = together.rows();
        kernel_table(isa).layer_norm_forward(args);
        for (int64_t row = 0; row < num_rows; ++row) {
          Rows one = make_rows(1, size, 0);
          std::copy_n(x.row(row), size, one.row(0));
          kernel_table(isa).layer_norm_forward(make_args(one, one, norm));
          together.check_row(row, values_of(one, 0), isa, "among " + std::to_string(num_rows));
        }
      }
    }
  }
}

TEST_CASE("layer_norm: no rows, nothing touched") {
  for (const Isa isa : supported_isas()) {
    LayerNormArgs args;
    args.hidden_size = 8;
    kernel_table(isa).layer_norm_forward(args);
  }
}

}  // namespace
}  // namespace elasticlm::test
