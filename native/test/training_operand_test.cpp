#include <algorithm>
#include <cstring>
#include <limits>

#include "core/dtype.h"
#include "core/packed_matrix.h"
#include "test/operand_fixture.h"
#include "test/padded_rows.h"

namespace elasticlm::test {
namespace {

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBF16};
constexpr std::byte kForeignByte{0xab};

// Random values with those among them whose rounding is hard: ties of bf16, NaN with every kind of payload,
// infinities, denormals, the largest numbers.
PaddedRows hard_matrix(Random& random, int64_t rows, int64_t columns, int64_t padding) {
  std::vector<float> hard = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (const uint32_t bits : {0x7fc00000u, 0xffffffffu, 0x7fffffffu, 0x7f800001u, 0xff80ffffu, 0x7fbfffffu,
                              0x7fc0ffffu, 0x7f7fffffu, 0x7f7f8000u, 0x7f7f7fffu}) {
    hard.push_back(std::bit_cast<float>(bits));
  }
  for (const std::vector<float>& row : hard_rows()) hard.insert(hard.end(), row.begin(), row.end());
  PaddedRows x = random_padded_rows(random, rows, columns, padding);
  x.for_each([&](int64_t row, int64_t column) {
    if (random.integer(0, 3) == 0) {
      x.at(row, column) = hard[static_cast<size_t>(random.integer(0, static_cast<int64_t>(hard.size()) - 1))];
    }
  });
  return x;
}

// Elements of a precision in memory of foreign bytes.
struct Operands {
  std::vector<std::byte> bytes;
  Precision precision;

  Operands(Precision of, int64_t elements)
      : bytes(static_cast<size_t>(elements * element_bytes(of)), kForeignByte), precision(of) {}

  uint32_t bits(int64_t index) const {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data() + index * element_bytes(precision),
                static_cast<size_t>(element_bytes(precision)));
    return value;
  }
  uint32_t foreign_bits() const { return precision == Precision::kBF16 ? 0xababu : 0xababababu; }
  uint32_t bits_of(float value) const {
    return precision == Precision::kBF16 ? f32_to_bf16(value) : std::bit_cast<uint32_t>(value);
  }
};

int64_t whole_words(int64_t elements, Precision precision) {
  return words_of(elements, precision) * word_elements(precision);
}

// Rows of `operands` are what at(row, column) says, zeros up to a whole word and foreign bytes behind it.
template <typename At>
void check_rows(const Operands& operands, int64_t rows, int64_t columns, int64_t ld, const At& at,
                const std::string& subject) {
  const int64_t used = whole_words(columns, operands.precision);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < ld; ++column) {
      const int64_t index = row * ld + column;
      if (column >= used && row + 1 == rows) break;
      const uint32_t expected = column < columns ? operands.bits_of(at(row, column))
                                : column < used  ? 0u
                                                 : operands.foreign_bits();
      CHECK(operands.bits(index) == expected,
            subject + " at (" + std::to_string(row) + ", " + std::to_string(column) + "): received bits " +
                std::to_string(operands.bits(index)) + ", expected " + std::to_string(expected));
    }
  }
}

std::string shape_of(Isa isa, Precision precision, int64_t rows, int64_t columns) {
  return std::string(isa_name(isa)) + " " + precision_name(precision) + " [" + std::to_string(rows) + ", " +
         std::to_string(columns) + "]";
}

void check_round(Random& random, int64_t rows, int64_t columns) {
  const PaddedRows x = hard_matrix(random, rows, columns, 3);
  const int64_t used = whole_words(columns, Precision::kBF16);
  for (const Isa isa : supported_isas()) {
    const int64_t ld = used + 2;
    Operands y(Precision::kBF16, rows == 0 ? 0 : (rows - 1) * ld + used);
    RoundRowsArgs args;
    args.x = x.values.data();
    args.y = reinterpret_cast<BF16*>(y.bytes.data());
    args.num_rows = rows;
    args.num_columns = columns;
    args.ldx = x.ld;
    args.ldy = ld;
    training_kernels(isa).round_rows(args);
    check_rows(
        y, rows, columns, ld, [&](int64_t row, int64_t column) { return x.at(row, column); },
        "round_rows " + shape_of(isa, Precision::kBF16, rows, columns));
  }
}

TEST_CASE("round_rows: every width, every kind of value, as core/dtype rounds") {
  Random random(1);
  for (int64_t columns = 0; columns <= 140; ++columns) check_round(random, columns % 5, columns);
  check_round(random, 3, 1536);
}

TEST_CASE("round_rows: all upper halves with lower halves around the tie") {
  for (const Isa isa : supported_isas()) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      PaddedRows x(256, 256, 0);
      x.for_each([&](int64_t row, int64_t column) {
        x.at(row, column) = std::bit_cast<float>(static_cast<uint32_t>(row * 256 + column) << 16 | low);
      });
      Operands y(Precision::kBF16, 256 * 256);
      training_kernels(isa).round_rows({.x = x.values.data(),
                                        .y = reinterpret_cast<BF16*>(y.bytes.data()),
                                        .num_rows = 256,
                                        .num_columns = 256,
                                        .ldx = 256,
                                        .ldy = 256});
      check_rows(
          y, 256, 256, 256, [&](int64_t row, int64_t column) { return x.at(row, column); },
          std::string("round_rows ") + isa_name(isa) + " all halves");
    }
  }
}

void check_transpose(Random& random, int64_t rows, int64_t columns) {
  const PaddedRows x = hard_matrix(random, rows, columns, 3);
  for (const Precision precision : kPrecisions) {
    const int64_t used = whole_words(rows, precision);
    const int64_t ld = used + 2 * word_elements(precision);
    for (const Isa isa : supported_isas()) {
      Operands y(precision, columns == 0 ? 0 : (columns - 1) * ld + used);
      TransposeRowsArgs args;
      args.x = x.values.data();
      args.y = y.bytes.data();
      args.precision = precision;
      args.num_rows = rows;
      args.num_columns = columns;
      args.ldx = x.ld;
      args.ldy = ld;
      training_kernels(isa).transpose_rows(args);
      check_rows(
          y, columns, rows, ld, [&](int64_t row, int64_t column) { return x.at(column, row); },
          "transpose_rows " + shape_of(isa, precision, rows, columns));
    }
  }
}

TEST_CASE("transpose_rows: every remainder of rows and columns") {
  Random random(2);
  for (int64_t rows = 0; rows <= 40; ++rows) {
    for (int64_t columns = 0; columns <= 36; columns += 1 + rows % 3) check_transpose(random, rows, columns);
  }
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {63, 300}, {64, 256}, {65, 33}, {129, 80}, {200, 17}, {270, 150}}) {
    check_transpose(random, rows, columns);
  }
}

// What PackedMatrix::set makes of weight (n, k) = at(n, k), and the bytes of its panels.
template <typename At>
std::vector<std::byte> packed_words(int64_t N, int64_t K, Precision precision, const At& at) {
  PackedMatrix matrix(num_blocks_of(N), K, precision);
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) matrix.set(n, k, at(n, k));
  }
  const std::byte* const words = matrix.view().words;
  const int64_t panels = (N + kPanelColumns - 1) / kPanelColumns;
  return {words, words + panels * words_of(K, precision) * kWordRowBytes};
}

// Packs from x with both kernels' views of it, in one piece and in two.
void check_pack(Random& random, int64_t N, int64_t K, bool depth_rows) {
  const PaddedRows x = depth_rows ? hard_matrix(random, K, N, 5) : hard_matrix(random, N, K, 5);
  const int64_t num_panels = (N + kPanelColumns - 1) / kPanelColumns;
  for (const Precision precision : kPrecisions) {
    const std::vector<std::byte> expected = packed_words(
        N, K, precision, [&](int64_t n, int64_t k) { return depth_rows ? x.at(k, n) : x.at(n, k); });
    for (const Isa isa : supported_isas()) {
      const TrainingKernels& kernels = training_kernels(isa);
      const std::string subject = std::string(depth_rows ? "pack_depth_rows " : "pack_column_rows ") +
                                  shape_of(isa, precision, N, K) + " (N, K)";
      for (int64_t cut = 0; cut <= num_panels; ++cut) {
        std::vector<std::byte> words(expected.size(), kForeignByte);
        PackArgs args;
        args.x = x.values.data();
        args.words = words.data();
        args.precision = precision;
        args.N = N;
        args.K = K;
        args.ldx = x.ld;
        args.panel_begin = cut;
        args.panel_end = num_panels;
        (depth_rows ? kernels.pack_depth_rows : kernels.pack_column_rows)(args);
        const int64_t panel_bytes = words_of(K, precision) * kWordRowBytes;
        CHECK(std::all_of(words.begin(), words.begin() + cut * panel_bytes,
                          [](std::byte byte) { return byte == kForeignByte; }),
              subject + ": wrote before its panels");
        args.panel_begin = 0;
        args.panel_end = cut;
        (depth_rows ? kernels.pack_depth_rows : kernels.pack_column_rows)(args);
        const auto [bad, good] = std::mismatch(words.begin(), words.end(), expected.begin());
        CHECK(bad == words.end(), subject + " cut at panel " + std::to_string(cut) + ": differs at byte " +
                                      std::to_string(bad - words.begin()) + " of panels of " +
                                      std::to_string(panel_bytes));
      }
    }
  }
}

TEST_CASE("pack_depth_rows and pack_column_rows: the words that PackedMatrix has, padding included") {
  Random random(3);
  for (const bool depth_rows : {true, false}) {
    for (int64_t N = 0; N <= 100; N += N < 50 ? 1 : 7) {
      for (const int64_t K : {0, 1, 2, 3, 15, 16, 17, 31, 33, 64, 71}) {
        if ((N + K) % 3 == 0 || N % 16 < 2) check_pack(random, N, K, depth_rows);
      }
    }
    check_pack(random, 384, 130, depth_rows);
  }
}

}  // namespace
}  // namespace elasticlm::test
