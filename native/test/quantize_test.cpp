#include <algorithm>
#include <vector>

#include "test/operand_fixture.h"

namespace elasticlm::test {
namespace {

// Rows of bf16 behind a first element that is not theirs, NaN between them, the last one ending the memory.
struct Rows {
  explicit Rows(const std::vector<std::vector<float>>& rows, int64_t padding)
      : num_rows(static_cast<int64_t>(rows.size())),
        num_columns(static_cast<int64_t>(rows[0].size())),
        ldx(num_columns + padding),
        memory(static_cast<size_t>(1 + (num_rows - 1) * ldx + num_columns), BF16{0x7fc1}) {
    for (size_t r = 0; r < rows.size(); ++r) {
      std::vector<float>& row = values.emplace_back();
      for (size_t i = 0; i < rows[r].size(); ++i) {
        BF16& target = memory[1 + r * static_cast<size_t>(ldx) + i];
        target.bits = f32_to_bf16(rows[r][i]);
        row.push_back(bf16_to_f32(target.bits));
      }
    }
  }

  int64_t num_rows;
  int64_t num_columns;
  int64_t ldx;
  std::vector<BF16> memory;
  std::vector<std::vector<float>> values;  // as rounded
};

void check_quantized(const Rows& rows, const std::string& subject) {
  for (const Isa isa : supported_isas()) {
    OperandMemory y(Precision::kI8, rows.num_rows, rows.num_columns, 2, false);
    kernel_table(isa).quantize_forward({.x = rows.memory.data() + 1,
                                        .y = y.rows(),
                                        .num_rows = rows.num_rows,
                                        .num_columns = rows.num_columns,
                                        .ldx = rows.ldx});
    for (int64_t row = 0; row < rows.num_rows; ++row) {
      y.check_row(row, rows.values[static_cast<size_t>(row)], isa, subject);
    }
  }
}

std::vector<std::vector<float>> random_rows(Random& random, int64_t num_rows, int64_t columns) {
  std::vector<std::vector<float>> rows;
  for (int64_t r = 0; r < num_rows; ++r) {
    const float deviation = std::exp2(static_cast<float>(random.integer(-40, 40)));
    std::vector<float>& row = rows.emplace_back();
    for (int64_t i = 0; i < columns; ++i) row.push_back(random.normal(deviation));
  }
  return rows;
}

TEST_CASE("quantize_forward: every row width, remainders included, gives the same bits on every ISA") {
  Random random(1);
  for (int64_t columns = 1; columns <= 200; ++columns) {
    check_quantized(Rows(random_rows(random, 3, columns), columns % 4), "random");
  }
  for (const int64_t columns : {384, 768, 1536, 4096, 4099}) {
    check_quantized(Rows(random_rows(random, 5, columns), 1), "random");
  }
}

TEST_CASE("quantize_forward: the largest magnitude counts at every place, with either sign") {
  for (const int64_t columns : {1, 17, 70, 131}) {
    for (int64_t at = 0; at < columns; ++at) {
      std::vector<float> row(static_cast<size_t>(columns), 0.25f);
      row[static_cast<size_t>(at)] = at % 2 == 0 ? 8.0f : -8.0f;
      check_quantized(Rows({row}, 0), "largest at " + std::to_string(at));
    }
  }
}

TEST_CASE("quantize_forward: ties, zeros, denormals and the largest numbers") {
  for (const std::vector<float>& row : hard_rows()) check_quantized(Rows({row, row}, 3), "hard values");
}

TEST_CASE("quantize_forward: every bf16 value beside every power of two as the largest") {
  for (int power = -126; power <= 127; power += 11) {
    const float absmax = std::ldexp(1.0f, power);
    std::vector<float> row = {absmax};
    for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
      const float value = bf16_to_f32(static_cast<uint16_t>(bits));
      if (value <= absmax && value >= absmax * 0x1p-9f) row.insert(row.end(), {value, -value});
    }
    check_quantized(Rows({row}, 0), "largest 2^" + std::to_string(power));
  }
}

TEST_CASE("quantize_forward: no rows, nothing touched") {
  for (const Isa isa : supported_isas()) {
    kernel_table(isa).quantize_forward(
        {.y = {.precision = Precision::kI8, .ld = 8}, .num_columns = 8, .ldx = 8});
  }
}

}  // namespace
}  // namespace elasticlm::test
