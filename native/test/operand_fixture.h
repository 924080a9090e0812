// Operand rows among foreign bytes, and what they must hold: shared by the tests of the steps that write
// them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "kernels/quantize.h"
#include "test/kernel_support.h"

namespace elasticlm::test {

inline constexpr Precision kOperandPrecisions[] = {Precision::kBF16, Precision::kI8};

// The i8 row of `values`, by the definitions in kernels/quantize.h: around 0, or around the middle of what
// they span.
struct QuantizedRow {
  std::vector<int8_t> q;
  RowScale scale;
};
inline QuantizedRow quantized(const std::vector<float>& values, bool is_centred) {
  QuantizedRow row{std::vector<int8_t>(values.size()), {}};
  float reach = 0.0f;
  for (const float value : values) reach = std::max(reach, std::abs(value));
  if (is_centred) {
    const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
    row.scale.offset = 0.5f * *largest + 0.5f * *smallest;
    reach = std::max(*largest - row.scale.offset, row.scale.offset - *smallest);
  }
  if (reach < kLeastAbsmax) return row;
  const float gain = 127.0f / reach;
  row.scale.scale = reach / 127.0f;
  for (size_t i = 0; i < values.size(); ++i) {
    row.q[i] = static_cast<int8_t>(std::nearbyint((values[i] - row.scale.offset) * gain));
    row.scale.sum += row.q[i];
  }
  return row;
}

// Rows that end the memory they lie in, with foreign bytes between them and where they are to be written.
class OperandMemory {
 public:
  // is_centred: whether i8 rows have an offset.
  OperandMemory(Precision precision, int64_t num_rows, int64_t columns, int64_t padding_words,
                bool is_centred = true)
      : precision_(precision), num_rows_(num_rows), columns_(columns), is_centred_(is_centred) {
    used_bytes_ = words_of(columns, precision) * 4;
    row_bytes_ = used_bytes_ + padding_words * 4;
    bytes_.assign(static_cast<size_t>((num_rows - 1) * row_bytes_ + used_bytes_), kForeignByte);
    scales_.assign(static_cast<size_t>(num_rows), RowScale{poison(), kForeignByte, poison()});
  }

  OperandRows rows() {
    return {.precision = precision_,
            .data = bytes_.data(),
            .scales = precision_ == Precision::kI8 ? scales_.data() : nullptr,
            .ld = row_bytes_ / element_bytes(precision_)};
  }

  // That row `row` is `values`, rounded, with zeros up to the end of the word and foreign bytes behind it.
  void check_row(int64_t row, const std::vector<float>& values, Isa isa, const std::string& subject) const {
    const std::string where = std::string(isa_name(isa)) + " " + precision_name(precision_) + " " + subject +
                              " columns " + std::to_string(columns_) + " row " + std::to_string(row);
    if (precision_ == Precision::kBF16) {
      check_bf16(row, values, isa, where);
    } else {
      check_i8(row, values, where);
    }
    for (int64_t byte = columns_ * element_bytes(precision_); byte < used_bytes_; ++byte) {
      CHECK(at(row, byte) == 0, where + ": no zeros up to the end of the word");
    }
    if (row + 1 == num_rows_) return;
    for (int64_t byte = used_bytes_; byte < row_bytes_; ++byte) {
      CHECK(at(row, byte) == kForeignByte, where + ": wrote behind the row");
    }
  }

 private:
  static constexpr uint8_t kForeignByte = 0xab;

  uint8_t at(int64_t row, int64_t byte) const { return bytes_[static_cast<size_t>(row * row_bytes_ + byte)]; }

  void check_bf16(int64_t row, const std::vector<float>& values, Isa isa, const std::string& where) const {
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t actual;
      std::memcpy(&actual, bytes_.data() + static_cast<size_t>(row * row_bytes_) + 2 * i, sizeof(actual));
      // The processor's own rounding to bf16 takes denormals for zeros.
      const bool is_flushed = isa == Isa::kAvx512Bf16 && std::abs(values[i]) < 0x1p-126f;
      const uint16_t expected = is_flushed ? f32_to_bf16(values[i]) & 0x8000 : f32_to_bf16(values[i]);
      CHECK(actual == expected, where + ": worst at " + std::to_string(i) + ": received " +
                                    std::to_string(bf16_to_f32(actual)) + ", expected " +
                                    std::to_string(bf16_to_f32(expected)) + ", no tolerance");
    }
  }

  void check_i8(int64_t row, const std::vector<float>& values, const std::string& where) const {
    const QuantizedRow expected = quantized(values, is_centred_);
    const RowScale& scale = scales_[static_cast<size_t>(row)];
    // Half a step, and the roundings of the centred value, the gain, their product and the scale, as seen
    // from a q of 127. A row of no step stands for values within kLeastAbsmax.
    const double step = scale.scale;
    const double tolerance = step > 0.0 ? step * (0.5 + 127.0 * gamma_bound(4)) : kLeastAbsmax;
    WorstError worst;
    for (size_t i = 0; i < values.size(); ++i) {
      const auto actual = static_cast<int8_t>(at(row, static_cast<int64_t>(i)));
      CHECK(actual == expected.q[i], where + ": q at " + std::to_string(i) + " received " +
                                         std::to_string(actual) + ", expected " +
                                         std::to_string(expected.q[i]) + ", no tolerance");
      worst.add(static_cast<float>(step * actual + scale.offset),
                {values[i], tolerance + kUnitRoundoff * std::abs(static_cast<double>(values[i]))},
                {static_cast<int64_t>(i)});
    }
    CHECK_WITHIN(worst, where + " (column)");
    CHECK(same_bits(scale.scale, expected.scale.scale), where + ": scale " + std::to_string(scale.scale));
    CHECK(scale.offset == expected.scale.offset, where + ": offset " + std::to_string(scale.offset));
    CHECK(scale.sum == expected.scale.sum,
          where + ": sum " + std::to_string(scale.sum) + ", expected " + std::to_string(expected.scale.sum));
  }

  Precision precision_;
  int64_t num_rows_;
  int64_t columns_;
  bool is_centred_;
  int64_t used_bytes_ = 0;
  int64_t row_bytes_ = 0;
  std::vector<uint8_t> bytes_;
  std::vector<RowScale> scales_;
};

// Values whose rounding is hard: ties between whole numbers when the largest is 127, neighbours of ties, ties
// of bf16, neighbours whose middle is no float, zeros of both signs, numbers too small for bf16's and f32's
// normal range, the largest ones.
inline std::vector<std::vector<float>> hard_rows() {
  std::vector<float> ties = {127.0f};
  for (int i = -127; i < 127; ++i) {
    const float tie = static_cast<float>(i) + 0.5f;
    ties.insert(ties.end(), {tie, std::nextafter(tie, 1e9f), std::nextafter(tie, -1e9f)});
  }
  std::vector<float> bf16_ties;
  for (int i = 0; i < 40; ++i) {
    const float value = std::bit_cast<float>(0x3f808000u + static_cast<uint32_t>(i) * 0x10000u);
    bf16_ties.insert(bf16_ties.end(),
                     {value, -value, std::nextafter(value, 0.0f), std::nextafter(value, 9.0f)});
  }
  return {ties,
          bf16_ties,
          {1.0f, std::nextafter(1.0f, 2.0f), 1.0f, std::nextafter(1.0f, 2.0f)},
          {-5.0f, std::nextafter(-5.0f, 0.0f), std::nextafter(-5.0f, -9.0f)},
          {0.0f, -0.0f, 0.0f, 0.0f, -0.0f},
          {1.0f, -0.0f, 0.0f, 0x1p-126f, -0x1p-149f, 0x1p-133f, -0x1p-60f},
          {kLeastAbsmax, -kLeastAbsmax / 2, kLeastAbsmax / 254, 0x1p-149f},
          {std::nextafter(kLeastAbsmax, 0.0f), -0x1p-101f, 0x1p-127f},
          {0x1p-149f, -0x1p-149f, 0x1p-140f},
          {0x1.fep127f, -0x1.fep127f, 1.0f, 0x1p120f, -0x1p-100f}};
}

}  // namespace elasticlm::test
