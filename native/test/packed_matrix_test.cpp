#include "core/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/dtype.h"
#include "test/check.h"
#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBF16, Precision::kI8};
constexpr int64_t kDepths[] = {1, 2, 3, 4, 5, 8, 29, 62, 384};

using Columns = std::vector<std::vector<float>>;  // [N][K]

Columns random_columns(Random& random, int64_t N, int64_t K) {
  Columns columns(static_cast<size_t>(N), std::vector<float>(static_cast<size_t>(K)));
  for (std::vector<float>& column : columns) {
    const float deviation = std::exp2(static_cast<float>(random.integer(-30, 30)));
    for (float& weight : column) weight = random.normal(deviation);
  }
  return columns;
}

PackedMatrix packed(const Columns& columns, int64_t num_blocks, Precision precision) {
  PackedMatrix matrix(num_blocks, static_cast<int64_t>(columns[0].size()), precision);
  for (size_t n = 0; n < columns.size(); ++n) matrix.set_column(static_cast<int64_t>(n), columns[n]);
  return matrix;
}

std::string subject_of(Precision precision, int64_t K) {
  return std::string(precision_name(precision)) + ", K " + std::to_string(K) + " (column, k)";
}

// Half a step of i8, and what the scale, the quotient and the product with the scale are rounded by, as seen
// from a quotient of up to 127; of bf16 half a last place; nothing of f32.
double rounding_bound(Precision precision, const std::vector<float>& column, float weight) {
  switch (precision) {
    case Precision::kF32:
      return 0.0;
    case Precision::kBF16:
      return 0x1p-9 * std::exp2(std::ceil(std::log2(std::abs(static_cast<double>(weight)))));
    case Precision::kI8:
      break;
  }
  double largest = 0.0;
  for (const float other : column) largest = std::max(largest, std::abs(static_cast<double>(other)));
  return largest / 254.0 + 3.0 * kUnitRoundoff * largest;
}

TEST_CASE("PackedMatrix: every precision gives back the columns set, rounded by no more than its step") {
  Random random(1);
  for (const Precision precision : kPrecisions) {
    for (const int64_t K : kDepths) {
      const Columns columns = random_columns(random, 5 * kBlockColumns, K);
      const PackedMatrix matrix = packed(columns, 5, precision);
      WorstError worst;
      for (size_t n = 0; n < columns.size(); ++n) {
        for (int64_t k = 0; k < K; ++k) {
          const float weight = columns[n][static_cast<size_t>(k)];
          worst.add(matrix.view().value(static_cast<int64_t>(n), k),
                    {weight, rounding_bound(precision, columns[n], weight)}, {static_cast<int64_t>(n), k});
        }
      }
      CHECK_WITHIN(worst, subject_of(precision, K));
    }
  }
}

TEST_CASE("PackedMatrix: words lie where the header says, padding is zero") {
  Random random(2);
  for (const Precision precision : kPrecisions) {
    const int64_t e = word_elements(precision);
    for (const int64_t K : kDepths) {
      constexpr int64_t kNumBlocks = 4;  // two blocks of the second panel are padding
      const Columns columns = random_columns(random, kNumBlocks * kBlockColumns, K);
      const PackedMatrix matrix = packed(columns, kNumBlocks, precision);
      const PackedMatrixView view = matrix.view();
      CHECK(view.num_words() == (K + e - 1) / e, subject_of(precision, K));
      for (int64_t n = 0; n < 2 * kPanelColumns; ++n) {
        for (int64_t k = 0; k < view.num_words() * e; ++k) {
          const std::byte* const word =
              view.words + 4 * ((n / 48) * view.num_words() * 48 + (k / e) * 48 + n % 48);
          const std::byte* const element = word + (k % e) * (4 / e);
          const bool is_padding = n >= kNumBlocks * kBlockColumns || k >= K;
          const double value = is_padding ? 0.0 : view.value(n, k);
          double stored = 0.0;
          if (precision == Precision::kF32) {
            float f32;
            std::memcpy(&f32, element, sizeof(f32));
            stored = f32;
          } else if (precision == Precision::kBF16) {
            uint16_t bits;
            std::memcpy(&bits, element, sizeof(bits));
            stored = bf16_to_f32(bits);
          } else {
            const float q = static_cast<float>(std::to_integer<int>(*element) - 128);
            stored = is_padding ? q : view.scales[n] * q;
          }
          CHECK(stored == value, subject_of(precision, K) + " at (" + std::to_string(n) + ", " +
                                     std::to_string(k) + "): " + std::to_string(stored));
        }
      }
      for (int64_t j = 0; j < kNumBlocks; ++j) {
        CHECK(view.block(j) - view.words == 4 * ((j / 3) * view.num_words() * 48 + (j % 3) * 16),
              "block " + std::to_string(j));
      }
    }
  }
}

TEST_CASE("PackedMatrix: copied columns hold the stored values of the depth they keep") {
  Random random(3);
  for (const Precision precision : kPrecisions) {
    for (const int64_t K : kDepths) {
      const Columns columns = random_columns(random, 3 * kBlockColumns, K);
      const PackedMatrix from = packed(columns, 3, precision);
      std::vector<int64_t> depth;
      for (int64_t k = K - 1; k >= 0; --k) {
        if (K < 4 || random.integer(0, 2) > 0) depth.push_back(k);
      }
      PackedMatrix to(2, static_cast<int64_t>(depth.size()), precision);
      for (int64_t n = 0; n < 2 * kBlockColumns; ++n) {
        to.copy_column(n, from.view(), 47 - n, depth);
      }
      for (int64_t n = 0; n < 2 * kBlockColumns; ++n) {
        for (size_t k = 0; k < depth.size(); ++k) {
          const float expected = from.view().value(47 - n, depth[k]);
          CHECK(same_bits(to.view().value(n, static_cast<int64_t>(k)), expected),
                subject_of(precision, K) + " at (" + std::to_string(n) + ", " + std::to_string(k) + ")");
        }
      }
    }
  }
}

TEST_CASE("PackedMatrix: a whole matrix copied column by column is the same bytes") {
  Random random(4);
  for (const Precision precision : kPrecisions) {
    for (const int64_t K : kDepths) {
      const PackedMatrix from = packed(random_columns(random, 4 * kBlockColumns, K), 4, precision);
      std::vector<int64_t> depth(static_cast<size_t>(K));
      std::iota(depth.begin(), depth.end(), 0);
      PackedMatrix to(4, K, precision);
      for (int64_t n = 0; n < 4 * kBlockColumns; ++n) to.copy_column(n, from.view(), n, depth);
      const auto word_bytes = static_cast<size_t>(2 * kPanelColumns * from.view().num_words() * kWordBytes);
      CHECK(std::memcmp(from.view().words, to.view().words, word_bytes) == 0, subject_of(precision, K));
    }
  }
}

TEST_CASE("PackedMatrix: what was never set is zero") {
  for (const Precision precision : kPrecisions) {
    const PackedMatrix matrix(2, 7, precision);
    CHECK(matrix.bytes() >= 2 * kBlockColumns * 7 * element_bytes(precision), "smaller than its weights");
    for (int64_t n = 0; n < 2 * kBlockColumns; ++n) {
      CHECK(matrix.view().bias[n] == 0.0f, "bias");
      for (int64_t k = 0; k < 7; ++k) CHECK(matrix.view().value(n, k) == 0.0f, precision_name(precision));
    }
  }
}

TEST_CASE("PackedMatrix: i8 keeps zeros exactly, and the largest weight to within a rounding") {
  const auto column_of = [](std::vector<float> weights) {
    PackedMatrix matrix(1, static_cast<int64_t>(weights.size()), Precision::kI8);
    matrix.set_column(3, weights);
    std::vector<float> stored;
    for (int64_t k = 0; k < matrix.view().K; ++k) stored.push_back(matrix.view().value(3, k));
    return stored;
  };
  for (const float zero : column_of({0.0f, -0.0f, 0.0f, 0.0f, 0.0f})) CHECK(zero == 0.0f, "a zero column");
  // Of ordinary size, close to the largest float, and with a scale close to the smallest normal one.
  for (const float largest : {3.0f, 0x1.f5p127f, -0x1.f5p127f, 0x1p-118f}) {
    const std::vector<float> stored = column_of({0.0f, largest, -largest, largest / 3.0f, -0.0f});
    CHECK(stored[0] == 0.0f && stored[4] == 0.0f, "zeros beside others");
    CHECK(stored[2] == -stored[1], "not symmetric");
    WorstError worst;
    worst.add(stored[1], {largest, gamma_bound(2) * std::abs(static_cast<double>(largest))}, {1});
    CHECK_WITHIN(worst, "the largest weight " + std::to_string(largest));
  }
  // The scale of denormals is rounded to a multiple of the smallest one: each weight is off by up to half of
  // that in each of 127 steps, and stays finite.
  for (const float largest : {0x1p-149f, 0x1p-140f, 0x1p-127f}) {
    const std::vector<float> stored = column_of({largest, -largest, largest / 2});
    for (size_t k = 0; k < stored.size(); ++k) {
      CHECK(static_cast<double>(std::abs(stored[k])) <= largest + 127.0 * 0x1p-150, "grew among denormals");
    }
  }
}

TEST_CASE("PackedMatrix: single weights and biases, where the precision takes them") {
  Random random(5);
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    PackedMatrix matrix(4, 9, precision);
    Columns columns = random_columns(random, 4 * kBlockColumns, 9);
    for (int64_t n = 0; n < 4 * kBlockColumns; ++n) {
      matrix.set_bias(n, columns[static_cast<size_t>(n)][0]);
      for (int64_t k = 8; k >= 0; --k)
        matrix.set(n, k, columns[static_cast<size_t>(n)][static_cast<size_t>(k)]);
    }
    const PackedMatrix whole = packed(columns, 4, precision);
    for (int64_t n = 0; n < 4 * kBlockColumns; ++n) {
      CHECK(matrix.view().bias[n] == columns[static_cast<size_t>(n)][0], "bias " + std::to_string(n));
      for (int64_t k = 0; k < 9; ++k) {
        CHECK(same_bits(matrix.view().value(n, k), whole.view().value(n, k)), subject_of(precision, 9));
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
