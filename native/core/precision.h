// What linear layers and attention compute in, and the rows that they multiply.
//
// Operands and weights are read in words of 32 bits, which hold the element of one k in f32, of two
// neighbouring k in bf16 and of four in i8: a multiplication takes one word of a row, broadcast, and one word
// for each of 16 columns.
#pragma once

#include <cstdint>

namespace elasticlm {

enum class Precision : uint8_t {
  kF32,
  kBF16,  // rounded to nearest even; sums in f32
  kI8,    // weights scaled per output channel, rows per token; sums in i32, what lies between in bf16 or f32
};

constexpr const char* precision_name(Precision precision) {
  return precision == Precision::kF32 ? "f32" : precision == Precision::kBF16 ? "bf16" : "i8";
}

constexpr int64_t word_elements(Precision precision) {
  return precision == Precision::kF32 ? 1 : precision == Precision::kBF16 ? 2 : 4;
}
constexpr int64_t element_bytes(Precision precision) { return 4 / word_elements(precision); }
// Words that hold `elements` neighbours.
constexpr int64_t words_of(int64_t elements, Precision precision) {
  return (elements + word_elements(precision) - 1) / word_elements(precision);
}

// The upper half of an f32.
struct BF16 {
  uint16_t bits = 0;
};

// A row of i8 stands for scale * q + offset; q lies in [-127, 127].
struct RowScale {
  float scale = 0.0f;
  int32_t sum = 0;      // of the row's q: weights are stored with 128 added, which sum * 128 takes away again
  float offset = 0.0f;  // only where the whole depth is kept: it meets the sums of whole columns of weights
};

// Where a step writes its rows a second time, as the next linear layer reads them.
struct OperandRows {
  Precision precision = Precision::kF32;  // kF32: nowhere, the f32 rows themselves are the operand
  void* data = nullptr;        // [num_rows, columns] BF16 or int8_t, zeros up to the end of the word
  RowScale* scales = nullptr;  // [num_rows], i8 only
  int64_t ld = 0;              // elements; whole words
};

}  // namespace elasticlm
