#include <cstring>

#include "test/operand_fixture.h"

namespace elasticlm::test {
namespace {

// A table whose bytes begin at an odd address and end with the last element, as in a checkpoint file.
class Table {
 public:
  Table(Random& random, DType dtype, int64_t rows, int64_t size) : dtype_(dtype), size_(size) {
    bytes_.resize(static_cast<size_t>(rows * size * dtype_bytes(dtype)) + 1);
    values_.resize(static_cast<size_t>(rows * size));
    for (size_t i = 0; i < values_.size(); ++i) {
      std::byte* target = bytes_.data() + 1 + i * static_cast<size_t>(dtype_bytes(dtype));
      const float value = random.normal(0.05f);
      if (dtype == DType::kF32) {
        values_[i] = value;
        std::memcpy(target, &value, sizeof(value));
        continue;
      }
      const uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      values_[i] = dtype == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
      std::memcpy(target, &bits, sizeof(bits));
    }
  }

  EmbeddingTable view() const { return {bytes_.data() + 1, dtype_}; }
  double value(int64_t row, int64_t e) const { return values_[static_cast<size_t>(row * size_ + e)]; }

 private:
  DType dtype_;
  int64_t size_;
  std::vector<std::byte> bytes_;
  std::vector<float> values_;
};

constexpr int64_t kVocabSize = 50;
constexpr int64_t kPositions = 20;
constexpr int64_t kTypes = 2;
constexpr int64_t kRows = 9;

struct Dtypes {
  DType word, position, token_type;
};

struct Case {
  Case(const Dtypes& dtypes, int64_t hidden_size, uint64_t seed)
      : random(seed),
        size(hidden_size),
        word(random, dtypes.word, kVocabSize, size),
        position(random, dtypes.position, kPositions, size),
        token_type(random, dtypes.token_type, kTypes, size) {
    for (int64_t row = 0; row < kRows; ++row) {
      input_ids.push_back(
          static_cast<int32_t>(row == 0 ? kVocabSize - 1 : random.integer(0, kVocabSize - 1)));
      position_ids.push_back(
          static_cast<int32_t>(row == 1 ? kPositions - 1 : random.integer(0, kPositions - 1)));
      token_type_ids.push_back(static_cast<int32_t>(random.integer(0, kTypes - 1)));
    }
    for (int64_t e = 0; e < size; ++e) {
      gamma.push_back(1.0f + random.normal(0.1f));
      beta.push_back(random.normal(0.1f));
    }
  }

  EmbeddingArgs args(std::vector<float>& y, int64_t ldy) const {
    EmbeddingArgs args;
    args.word = word.view();
    args.position = position.view();
    args.token_type = token_type.view();
    args.input_ids = input_ids.data();
    args.position_ids = position_ids.data();
    args.token_type_ids = token_type_ids.data();
    args.gamma = gamma.data();
    args.beta = beta.data();
    args.y = y.data();
    args.num_rows = kRows;
    args.hidden_size = size;
    args.ldy = ldy;
    args.eps = 1e-12f;
    return args;
  }

  // With δ <= gamma(2) (|word| + |position| + |token_type|) the rounding of the sums, the centred value moves
  // by up to 2 δ and the deviation, relatively, by 2 δ gain. The rest is LayerNorm's own bound, as in
  // layer_norm_test.cpp: depth of a sum n = E / 16 + 8; the row's mean and variance off by gamma(n + 1)
  // mean|x| and gamma(n + 5).
  std::vector<Bound> exact(int64_t row) const {
    std::vector<double> x(static_cast<size_t>(size));
    double mean = 0.0;
    double magnitude = 0.0;
    double rounding = 0.0;
    for (int64_t e = 0; e < size; ++e) {
      const size_t r = static_cast<size_t>(row);
      const double a = word.value(input_ids[r], e);
      const double b = position.value(position_ids[r], e);
      const double c = token_type.value(token_type_ids[r], e);
      x[static_cast<size_t>(e)] = a + b + c;
      mean += a + b + c;
      magnitude += std::abs(a + b + c);
      rounding = std::max(rounding, gamma_bound(2) * (std::abs(a) + std::abs(b) + std::abs(c)));
    }
    mean /= static_cast<double>(size);
    magnitude /= static_cast<double>(size);
    double variance = 0.0;
    for (const double value : x) variance += (value - mean) * (value - mean);
    variance /= static_cast<double>(size);
    const double gain = 1.0 / std::sqrt(variance + 1e-12);
    const double depth = static_cast<double>(size) / 16 + 8;
    const double shift = gamma_bound(depth + 1) * magnitude + 2 * rounding;
    const double gain_error = gamma_bound(depth + 5) + shift * shift * gain * gain + 2 * rounding * gain;
    std::vector<Bound> bounds(static_cast<size_t>(size));
    for (size_t e = 0; e < bounds.size(); ++e) {
      const double scaled = (x[e] - mean) * gain * gamma[e];
      bounds[e].value = scaled + beta[e];
      bounds[e].tolerance = std::abs(gamma[e]) * gain * shift * (1.0 + gain_error) +
                            std::abs(scaled) * (gain_error + gamma_bound(6)) +
                            gamma_bound(2) * std::abs(bounds[e].value);
    }
    return bounds;
  }

  Random random;
  int64_t size;
  Table word, position, token_type;
  std::vector<int32_t> input_ids, position_ids, token_type_ids;
  std::vector<float> gamma, beta;
};

void check_exact(const Case& one, const std::string& subject) {
  const int64_t ldy = one.size + 5;
  for (const Isa isa : supported_isas()) {
    std::vector<float> y = poisoned((kRows - 1) * ldy + one.size);
    kernel_table(isa).embedding_forward(one.args(y, ldy));
    WorstError worst;
    for (int64_t row = 0; row < kRows; ++row) {
      const std::vector<Bound> bounds = one.exact(row);
      for (int64_t e = 0; e < one.size; ++e) {
        worst.add(y[static_cast<size_t>(row * ldy + e)], bounds[static_cast<size_t>(e)], {row, e});
      }
      for (int64_t e = one.size; e < ldy && row + 1 < kRows; ++e) {
        CHECK(is_poison(y[static_cast<size_t>(row * ldy + e)]),
              std::string(isa_name(isa)) + " wrote into the padding");
      }
    }
    CHECK_WITHIN(worst,
                 std::string(isa_name(isa)) + " " + subject + " E=" + std::to_string(one.size) + " (row, e)");
  }
}

constexpr DType kDtypes[] = {DType::kF32, DType::kF16, DType::kBF16};

TEST_CASE("embedding: every width from unaligned tables of each dtype gives the exact sum, normalised") {
  for (const DType dtype : kDtypes) {
    for (int64_t size = 2; size <= 70; ++size)
      check_exact({{dtype, dtype, dtype}, size, 1}, dtype_name(dtype));
    check_exact({{dtype, dtype, dtype}, 384, 2}, dtype_name(dtype));
  }
}

TEST_CASE("embedding: tables of different dtypes may meet in one call") {
  for (const DType word : kDtypes) {
    for (const DType position : kDtypes) {
      for (const DType token_type : kDtypes)
        check_exact({{word, position, token_type}, 72, 3}, "mixed dtypes");
    }
  }
}

TEST_CASE("embedding: operand rows of every width are the f32 rows, rounded") {
  const auto check = [](int64_t size, DType dtype) {
    const Case one({dtype, dtype, dtype}, size, 5);
    for (const Isa isa : supported_isas()) {
      std::vector<float> plain = poisoned(kRows * size);
      kernel_table(isa).embedding_forward(one.args(plain, size));
      for (const Precision precision : kOperandPrecisions) {
        std::vector<float> y = poisoned(kRows * size);
        OperandMemory operand(precision, kRows, size, size % 3);
        EmbeddingArgs args = one.args(y, size);
        args.operand = operand.rows();
        kernel_table(isa).embedding_forward(args);
        for (int64_t row = 0; row < kRows; ++row) {
          const std::vector<float> values(y.begin() + row * size, y.begin() + (row + 1) * size);
          operand.check_row(row, values, isa, dtype_name(dtype));
        }
        for (size_t i = 0; i < y.size(); ++i) {
          CHECK(
              same_bits(y[i], plain[i]),
              std::string(isa_name(isa)) + ": the f32 rows differ beside an operand at " + std::to_string(i));
        }
      }
    }
  };
  for (int64_t size = 2; size <= 70; ++size) check(size, kDtypes[size % 3]);
  for (const int64_t size : {384, 768}) check(size, DType::kF16);
}

TEST_CASE("embedding: a row alone has the bits it has in a batch") {
  const Case one({DType::kF16, DType::kF16, DType::kF16}, 136, 4);
  for (const Isa isa : supported_isas()) {
    std::vector<float> together = poisoned(kRows * one.size);
    kernel_table(isa).embedding_forward(one.args(together, one.size));
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<float> alone = poisoned(one.size);
      EmbeddingArgs args = one.args(alone, one.size);
      args.input_ids += row;
      args.position_ids += row;
      args.token_type_ids += row;
      args.num_rows = 1;
      kernel_table(isa).embedding_forward(args);
      for (int64_t e = 0; e < one.size; ++e) {
        CHECK(
            same_bits(alone[static_cast<size_t>(e)], together[static_cast<size_t>(row * one.size + e)]),
            std::string(isa_name(isa)) + " row " + std::to_string(row) + " differs at " + std::to_string(e));
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
