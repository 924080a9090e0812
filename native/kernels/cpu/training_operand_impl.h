// round_rows, transpose_rows, pack_depth_rows and pack_column_rows over the vector wrapper. Included by
// training_operand_<isa>.cpp after the wrapper and its dot products.

#include "kernels/cpu/operand_words.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// Words of a cache line.
constexpr int64_t kStripRows = 16;
// Lines of y are fetched into the core's L2 cache so many rows of y ahead: no hardware prefetch follows them,
// each lies on another page. An eighth to a quarter less time than without ([2048, 1536], y beyond the L2
// cache; 2-core Zen 4, 2026-11-24).
constexpr int64_t kFetchDistance = 32;
constexpr int kPrefetchLocality = 2;

// Where columns of words become rows.
struct TransposedWords {
  std::byte* y = nullptr;  // column c of the source begins at y + c * stride
  int64_t stride = 0;      // bytes
  ELASTICLM_INLINE std::byte* at(int64_t row, int64_t column) const {
    return y + column * stride + row * kWordBytes;
  }
};

// kLanes rows and columns from (row, word) on; `rows` and `words` of them are wanted where not kWhole.
template <bool kWhole, typename Source>
ELASTICLM_INLINE void transpose_tile(const Source& source, int64_t row, int64_t word, int64_t rows,
                                     int64_t words, const TransposedWords& target) {
  Vec tile[kLanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i) {
    tile[i] = kWhole ? source.at(row + i, word) : source.padded_at(row + i, word);
  }
  transpose(tile);
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i) {
    if constexpr (kWhole) {
      write_words(target.at(row, word + i), tile[i]);
    } else if (i < words) {
      write_first_words(target.at(row, word + i), tile[i], rows);
    }
  }
}

// Rows [0, num_rows) and words [0, num_words) of `source`, padding included. A strip of rows makes a cache
// line of each row of y, and its tiles follow one another: with a strip of one tile, lines of y leave the
// cache half written, which takes twice as long with 8 lanes and 5 times with 4 ([2048, 384], Zen 4,
// 2026-11-24).
template <bool kFetchAhead, typename Source>
void transpose_words(const Source& source, int64_t num_rows, int64_t num_words,
                     const TransposedWords& target) {
  for (int64_t strip = 0; strip < num_rows; strip += kStripRows) {
    const int64_t strip_end = smaller(strip + kStripRows, num_rows);
    const bool whole = strip + kStripRows <= source.whole_rows();
    for (int64_t word = 0; word < num_words; word += kLanes) {
      if (kFetchAhead && word + kFetchDistance + kLanes <= num_words) {
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) {
          __builtin_prefetch(target.at(strip, word + kFetchDistance + i), 0, kPrefetchLocality);
        }
      }
      for (int64_t row = strip; row < strip_end; row += kLanes) {
        if (whole && word + kLanes <= source.whole_words()) {
          transpose_tile<true>(source, row, word, kLanes, kLanes, target);
        } else {
          transpose_tile<false>(source, row, word, smaller(strip_end - row, kLanes),
                                smaller(num_words - word, kLanes), target);
        }
      }
    }
  }
}

template <Precision kPrecision>
void transpose_rows_in(const TransposeRowsArgs& args) {
  const WordsOfColumns<kPrecision> source{args.x, args.ldx, args.num_rows, args.num_columns};
  transpose_words<true>(source, words_of(args.num_rows, kPrecision), args.num_columns,
                        {static_cast<std::byte*>(args.y), args.ldy * element_bytes(kPrecision)});
}

// Word rows of a panel, one after the other.
template <Precision kPrecision>
void pack_depth_rows_in(const PackArgs& args) {
  const int64_t num_words = words_of(args.K, kPrecision);
  for (int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
    const int64_t column = panel * kPanelColumns;
    const WordsOfColumns<kPrecision> source{args.x + column, args.ldx, args.K,
                                            smaller(args.N - column, kPanelColumns)};
    std::byte* y = args.words + panel * num_words * kWordRowBytes;
    for (int64_t word = 0; word < num_words; ++word, y += kWordRowBytes) {
      const bool whole = word < source.whole_rows() && source.num_columns == kPanelColumns;
#pragma GCC unroll 12
      for (int64_t i = 0; i < kPanelColumns; i += kLanes) {
        write_words(y + i * kWordBytes, whole ? source.at(word, i) : source.padded_at(word, i));
      }
    }
  }
}

template <Precision kPrecision>
void pack_column_rows_in(const PackArgs& args) {
  const int64_t num_words = words_of(args.K, kPrecision);
  for (int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
    const int64_t column = panel * kPanelColumns;
    const WordsOfRows<kPrecision> source{args.x + column * args.ldx, args.ldx,
                                         smaller(args.N - column, kPanelColumns), args.K};
    transpose_words<false>(source, kPanelColumns, num_words,
                           {args.words + panel * num_words * kWordRowBytes, kWordRowBytes});
  }
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(round_rows)(const RoundRowsArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    isa::round_row(
        args.x + row * args.ldx, args.num_columns, args.y + row * args.ldy,
        [](isa::Vec value) __attribute__((always_inline)) { return value; });
  }
}

void ELASTICLM_KERNEL(transpose_rows)(const TransposeRowsArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  if (args.precision == Precision::kBF16) return isa::transpose_rows_in<Precision::kBF16>(args);
  isa::transpose_rows_in<Precision::kF32>(args);
}

void ELASTICLM_KERNEL(pack_depth_rows)(const PackArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  if (args.precision == Precision::kBF16) return isa::pack_depth_rows_in<Precision::kBF16>(args);
  isa::pack_depth_rows_in<Precision::kF32>(args);
}

void ELASTICLM_KERNEL(pack_column_rows)(const PackArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  if (args.precision == Precision::kBF16) return isa::pack_column_rows_in<Precision::kBF16>(args);
  isa::pack_column_rows_in<Precision::kF32>(args);
}

}  // namespace elasticlm
