#include "kernels/training_operand.h"

#include <cstring>

#include "core/dtype.h"

namespace elasticlm {
namespace {

// Element `index` of operands of `precision`, value rounded.
void put(void* operands, Precision precision, int64_t index, float value) {
  if (precision == Precision::kBF16) {
    static_cast<BF16*>(operands)[index].bits = f32_to_bf16(value);
  } else {
    static_cast<float*>(operands)[index] = value;
  }
}

int64_t whole_words(int64_t elements, Precision precision) {
  return words_of(elements, precision) * word_elements(precision);
}

// at(n, k): the weight of column n and depth k.
template <typename At>
void pack(const PackArgs& args, const At& at) {
  const int64_t e = word_elements(args.precision);
  const int64_t num_words = words_of(args.K, args.precision);
  for (int64_t n = args.panel_begin * kPanelColumns; n < args.panel_end * kPanelColumns; ++n) {
    for (int64_t k = 0; k < num_words * e; ++k) {
      const int64_t word =
          n / kPanelColumns * num_words * kPanelColumns + k / e * kPanelColumns + n % kPanelColumns;
      put(args.words, args.precision, word * e + k % e, n < args.N && k < args.K ? at(n, k) : 0.0f);
    }
  }
}

}  // namespace

void round_rows_ref(const RoundRowsArgs& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    for (int64_t i = 0; i < whole_words(args.num_columns, Precision::kBF16); ++i) {
      put(args.y, Precision::kBF16, row * args.ldy + i,
          i < args.num_columns ? args.x[row * args.ldx + i] : 0.0f);
    }
  }
}

void transpose_rows_ref(const TransposeRowsArgs& args) {
  for (int64_t column = 0; column < args.num_columns; ++column) {
    for (int64_t row = 0; row < whole_words(args.num_rows, args.precision); ++row) {
      put(args.y, args.precision, column * args.ldy + row,
          row < args.num_rows ? args.x[row * args.ldx + column] : 0.0f);
    }
  }
}

void pack_depth_rows_ref(const PackArgs& args) {
  pack(args, [&](int64_t n, int64_t k) { return args.x[k * args.ldx + n]; });
}

void pack_column_rows_ref(const PackArgs& args) {
  pack(args, [&](int64_t n, int64_t k) { return args.x[n * args.ldx + k]; });
}

}  // namespace elasticlm
