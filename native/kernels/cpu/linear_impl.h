// The linear layers over the vector wrapper, in any precision. Included by linear_<precision>_impl.h, whose
// `Dot` says what a word of 32 bits holds and how it is multiplied:
//   kElements                     of a word
//   kMaxAccumulators              vectors of sums that fit the registers beside weights and a row's word
//   Sum, Row, Weight              a vector of sums; a row's word in every lane; a vector of weight words
//   start(scale)                  what a row's sums start from
//   row(p), weight(p)             loaded and prepared for `add`
//   add(sum, row, weight)
//   load(p), store(p, sum)        from and to slots of 4 bytes
//   kHasScales                    whether columns have scales
//   factors(scale)                a row's, prepared for `value`
//   value(sum, factors, column scales, column sums, bias)  a vector of y before the activation
//
// Accumulators take three quarters of the registers and leave the rest to weights and one broadcast word: 8
// rows x 48 columns on AVX-512, 6 x 16 in f32 on AVX2 and NEON, 3 x 16 on SSE2. Fewer rows take more columns
// at once, so that there are enough chains to hide the latency of the multiply-add.
#include "kernels/cpu/linear_tiles.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr int kBlockVecs = kBlockColumns / kLanes;
constexpr int64_t kVecBytes = kLanes * kWordBytes;

// How far ahead weights are fetched into the core's L2 cache, in word rows of 192 bytes: 16 KB. Only by
// tiles with enough rows that computing takes longer than reading: with fewer, the hardware's own prefetch
// keeps memory busier, and extra requests cost a third (AVX-512, 2 to 4 rows, weights in memory; Zen 4,
// 2026-11-23).
constexpr int64_t kPrefetchDistance = 85;
constexpr int kPrefetchLocality = 2;

// Where a register tile does not cover a whole panel, the panel is taken in slices of this many word rows, so
// that memory is still read from front to back. 16 KB, half of a 32 KB L1 cache; partial sums are stored
// exactly.
constexpr int64_t kSliceRows = 85;

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename Dot>
constexpr int kMaxRows =
    Dot::kMaxAccumulators / kBlockVecs < kMaxTileRows ? Dot::kMaxAccumulators / kBlockVecs : kMaxTileRows;

// Blocks that one register tile of `rows` rows covers.
template <typename Dot>
constexpr int tile_blocks(int rows) {
  const int fit = Dot::kMaxAccumulators / (rows * kBlockVecs);
  return fit < kPanelBlocks ? fit : kPanelBlocks;
}

// Rows of a tile where the words of x begin.
template <int kRows>
struct RowWords {
  const std::byte* x[kRows];
};

ELASTICLM_INLINE void store_value(float* y, Vec value) { store(y, value); }
ELASTICLM_INLINE void store_value(BF16* y, Vec value) { store_bf16(y, value); }

template <Activation kActivation, typename Element>
ELASTICLM_INLINE Vec activate(Vec value) {
  if constexpr (kActivation == Activation::kTanh) return tanh(value);
  if constexpr (kActivation == Activation::kGelu) {
    // bf16 rounds by up to 2^-8 of the value: GELU need not be nearer than a hundredth of that.
    return std::is_same_v<Element, float> ? gelu(value) : gelu_near(value);
  }
  return value;
}

// What the columns of a tile add to each of its rows, and where they stand in y.
template <typename Dot, int kBlocks>
struct Columns {
  int64_t y_offset[kBlocks];
  Vec bias[kBlocks][kBlockVecs];
  Vec scale[kBlocks][kBlockVecs];
  Vec sum[kBlocks][kBlockVecs];

  ELASTICLM_INLINE Columns(const Tile& tile, int64_t first) {
#pragma GCC unroll 3
    for (int j = 0; j < kBlocks; ++j) {
      y_offset[j] = tile.y_offset[first + j];
      const float* const block_bias = tile.bias[first + j];
#pragma GCC unroll 4
      for (int v = 0; v < kBlockVecs; ++v) {
        bias[j][v] = block_bias == nullptr ? zero() : load(block_bias + v * kLanes);
        if constexpr (Dot::kHasScales) {
          scale[j][v] = load(tile.scales[first + j] + v * kLanes);
          sum[j][v] = load(tile.sums[first + j] + v * kLanes);
        }
      }
    }
  }
};

// Sums of one row to y = act(sums + bias) + residual.
template <Activation kActivation, typename Element, typename Dot, int kBlocks>
ELASTICLM_INLINE void finish_row(const TileRow& row, const Columns<Dot, kBlocks>& columns,
                                 const typename Dot::Sum (&sum)[kBlocks][kBlockVecs]) {
  Element* const y = reinterpret_cast<Element*>(row.y);
  const float* const residual = row.residual;
  const auto factors = Dot::factors(row.scale);
#pragma GCC unroll 3
  for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
    for (int v = 0; v < kBlockVecs; ++v) {
      Vec value = activate<kActivation, Element>(
          Dot::value(sum[j][v], factors, columns.scale[j][v], columns.sum[j][v], columns.bias[j][v]));
      if constexpr (std::is_same_v<Element, float>) {
        if (residual != nullptr) value = value + load(residual + columns.y_offset[j] + v * kLanes);
      }
      store_value(y + columns.y_offset[j] + v * kLanes, value);
    }
  }
}

// What `Dot` is where sums are f32.
struct FloatSums {
  static constexpr bool kHasScales = false;
  using Sum = Vec;

  ELASTICLM_INLINE static Sum start(const RowScale&) { return zero(); }
  ELASTICLM_INLINE static Sum load(const float* slots) {
    return elasticlm::ELASTICLM_ISA_NAMESPACE::load(slots);
  }
  ELASTICLM_INLINE static void store(float* slots, Sum sum) {
    elasticlm::ELASTICLM_ISA_NAMESPACE::store(slots, sum);
  }
  ELASTICLM_INLINE static Vec factors(const RowScale&) { return zero(); }
  ELASTICLM_INLINE static Vec value(Sum sum, Vec, Vec, Vec, Vec bias) { return sum + bias; }
};

// x Wᵀ of one register tile. Every loop over its arrays is unrolled, or they would live in memory.
template <typename Dot, int kRows, int kBlocks>
struct Accumulators {
  typename Dot::Sum sum[kRows][kBlocks][kBlockVecs];

  ELASTICLM_INLINE void start(const TileRow* rows) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename Dot::Sum first = Dot::start(rows[r].scale);
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v) sum[r][j][v] = first;
      }
    }
  }

  // Words [word, end) of x; w is at the first of their word rows in the tile's first block, block j at w +
  // block[j].
  template <bool kPrefetch>
  ELASTICLM_INLINE void add(const RowWords<kRows>& rows, int64_t word, int64_t end, const std::byte* w,
                            const ptrdiff_t (&block)[kBlocks], const std::byte* prefetch) {
    for (; word < end; ++word) {
      typename Dot::Weight weight[kBlocks][kBlockVecs];
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v) weight[j][v] = Dot::weight(w + block[j] + v * kVecBytes);
        if constexpr (kPrefetch) __builtin_prefetch(prefetch + block[j], 0, kPrefetchLocality);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const typename Dot::Row value = Dot::row(rows.x[r] + word * kWordBytes);
#pragma GCC unroll 3
        for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
          for (int v = 0; v < kBlockVecs; ++v) sum[r][j][v] = Dot::add(sum[r][j][v], value, weight[j][v]);
        }
      }
      w += kWordRowBytes;
      if constexpr (kPrefetch) prefetch += kWordRowBytes;
    }
  }

  // To y without an activation.
  template <typename Element>
  ELASTICLM_INLINE void finish(const Tile& tile, int64_t first) const {
    const Columns<Dot, kBlocks> columns(tile, first);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      finish_row<Activation::kNone, Element, Dot, kBlocks>(tile.rows[r], columns, sum[r]);
    }
  }

  ELASTICLM_INLINE void read(const float* slots) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v) {
          sum[r][j][v] = Dot::load(slots + r * kPanelColumns + j * kBlockColumns + v * kLanes);
        }
      }
    }
  }

  ELASTICLM_INLINE void write(float* slots) const {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v)
          Dot::store(slots + r * kPanelColumns + j * kBlockColumns + v * kLanes, sum[r][j][v]);
      }
    }
  }
};

// Part of a tile's depth, in whole words, and from where to prefetch meanwhile.
template <typename Dot>
struct Slice {
  int64_t begin;
  int64_t end;
  bool is_last;
  DepthCursor<Dot::kElements> weights;
  PrefetchCursor<Dot::kElements> prefetch;
  bool prefetches;
};

// What is left of the kept depth when it does not end with a word.
struct Tail {
  int64_t weight_row = 0;  // word row of the weights
  int64_t word = 0;        // of x
  int64_t elements = 0;    // of that word; 0: nothing is left
};

// Adds x Wᵀ over the slice, for the kBlocks blocks from `first` on, to slots [kRows, 48]; the first slice
// sets them. With a tail, adds that too.
template <typename Dot, int kRows, int kBlocks>
void multiply(const Tile& tile, const Slice<Dot>& slice, const Tail& tail, int64_t first, float* slots) {
  const std::byte* const weights = tile.weights[first];
  const std::byte* const next = tile.next == nullptr ? nullptr : tile.next + (weights - tile.weights[0]);
  RowWords<kRows> rows;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) rows.x[r] = tile.rows[r].x;
  ptrdiff_t block[kBlocks];
#pragma GCC unroll 3
  for (int j = 0; j < kBlocks; ++j) block[j] = tile.weights[first + j] - weights;

  Accumulators<Dot, kRows, kBlocks> accumulators;
  if (slice.begin == 0) {
    accumulators.start(tile.rows);
  } else {
    accumulators.read(slots);
  }
  DepthCursor<Dot::kElements> at = slice.weights;
  PrefetchCursor<Dot::kElements> prefetch = slice.prefetch;
  for (int64_t word = slice.begin; word < slice.end;) {
    const std::byte* w = weights + at.row() * kWordRowBytes;
    int64_t steps = smaller(slice.end - word, at.run_left());
    if (slice.prefetches && !prefetch.done()) {
      steps = smaller(steps, prefetch.run_left());
      const std::byte* const fetched = (prefetch.in_next() ? next : weights) + prefetch.row() * kWordRowBytes;
      accumulators.template add<true>(rows, word, word + steps, w, block, fetched);
      prefetch.advance(steps);
    } else {
      accumulators.template add<false>(rows, word, word + steps, w, block, nullptr);
    }
    at.advance(steps);
    word += steps;
  }
  if constexpr (Dot::kElements > 1) {
    if (tail.elements > 0) {
      // Zeros in place of what x holds behind its kept depth.
      std::byte words[kRows][kWordBytes] = {};
      RowWords<kRows> last;
      for (int r = 0; r < kRows; ++r) {
        std::memcpy(words[r], rows.x[r] + tail.word * kWordBytes,
                    static_cast<size_t>(tail.elements * (kWordBytes / Dot::kElements)));
        last.x[r] = words[r];
      }
      accumulators.template add<false>(last, 0, 1, weights + tail.weight_row * kWordRowBytes, block, nullptr);
    }
  }
  if (!slice.is_last || tile.activation != Activation::kNone) {
    accumulators.write(slots);
  } else if (tile.y_type == OutputType::kF32) {
    accumulators.template finish<float>(tile, first);
  } else if constexpr (Dot::kElements > 1) {
    accumulators.template finish<BF16>(tile, first);
  }
}

template <typename Dot>
using Multiply = void (*)(const Tile& tile, const Slice<Dot>& slice, const Tail& tail, int64_t first,
                          float* slots);

template <typename Dot, int kRows, int kBlocks>
constexpr Multiply<Dot> multiply_of() {
  if constexpr (kRows <= kMaxRows<Dot> && kBlocks <= tile_blocks<Dot>(kRows)) {
    return multiply<Dot, kRows, kBlocks>;
  }
  return nullptr;
}

template <typename Dot>
constexpr Multiply<Dot> kMultiply[kMaxTileRows][kPanelBlocks] = {
    {multiply_of<Dot, 1, 1>(), multiply_of<Dot, 1, 2>(), multiply_of<Dot, 1, 3>()},
    {multiply_of<Dot, 2, 1>(), multiply_of<Dot, 2, 2>(), multiply_of<Dot, 2, 3>()},
    {multiply_of<Dot, 3, 1>(), multiply_of<Dot, 3, 2>(), multiply_of<Dot, 3, 3>()},
    {multiply_of<Dot, 4, 1>(), multiply_of<Dot, 4, 2>(), multiply_of<Dot, 4, 3>()},
    {multiply_of<Dot, 5, 1>(), multiply_of<Dot, 5, 2>(), multiply_of<Dot, 5, 3>()},
    {multiply_of<Dot, 6, 1>(), multiply_of<Dot, 6, 2>(), multiply_of<Dot, 6, 3>()},
    {multiply_of<Dot, 7, 1>(), multiply_of<Dot, 7, 2>(), multiply_of<Dot, 7, 3>()},
    {multiply_of<Dot, 8, 1>(), multiply_of<Dot, 8, 2>(), multiply_of<Dot, 8, 3>()},
};

// From slots to y. An activation needs the registers that the accumulators take.
template <typename Dot, int kBlocks, Activation kActivation, typename Element>
void finish(const Tile& tile, const float* slots) {
  const Columns<Dot, kBlocks> columns(tile, 0);
  for (int64_t r = 0; r < tile.num_rows; ++r) {
    typename Dot::Sum sum[kBlocks][kBlockVecs];
#pragma GCC unroll 3
    for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
      for (int v = 0; v < kBlockVecs; ++v) {
        sum[j][v] = Dot::load(slots + r * kPanelColumns + j * kBlockColumns + v * kLanes);
      }
    }
    finish_row<kActivation, Element, Dot, kBlocks>(tile.rows[r], columns, sum);
  }
}

template <typename Dot, int kBlocks, typename Element>
void finish_as(const Tile& tile, const float* slots) {
  if (tile.activation == Activation::kGelu) {
    finish<Dot, kBlocks, Activation::kGelu, Element>(tile, slots);
  } else {
    finish<Dot, kBlocks, Activation::kTanh, Element>(tile, slots);
  }
}

template <typename Dot, typename Element>
void finish_blocks(const Tile& tile, const float* slots) {
  switch (tile.num_blocks) {
    case 3:
      return finish_as<Dot, 3, Element>(tile, slots);
    case 2:
      return finish_as<Dot, 2, Element>(tile, slots);
    default:
      return finish_as<Dot, 1, Element>(tile, slots);
  }
}

template <typename Dot>
void run_tile(const Tile& tile) {
  alignas(64) float slots[kMaxRows<Dot> * kPanelColumns];
  int64_t depth = 0;
  for (const KRun& run : tile.depth) depth += run.k_count;
  const int64_t num_words = depth / Dot::kElements;
  Tail tail;
  if (depth % Dot::kElements > 0) {
    const KRun& last = tile.depth.back();
    tail = {(last.k_begin + last.k_count) / Dot::kElements, num_words, depth % Dot::kElements};
  }
  const int64_t step = tile_blocks<Dot>(static_cast<int>(tile.num_rows));
  const int64_t slice_rows = tile.brings_weights && tile.num_blocks > step ? kSliceRows : num_words;
  Slice<Dot> slice = {.begin = 0,
                      .end = smaller(num_words, slice_rows),
                      .is_last = slice_rows >= num_words,
                      .weights = DepthCursor<Dot::kElements>(tile.depth),
                      .prefetch = PrefetchCursor<Dot::kElements>(tile, kPrefetchDistance),
                      .prefetches = tile.brings_weights && tile.num_rows >= kMaxRows<Dot> * 3 / 4};
  for (;;) {
    for (int64_t first = 0; first < tile.num_blocks; first += step) {
      const int64_t blocks = smaller(tile.num_blocks - first, step);
      kMultiply<Dot>[tile.num_rows - 1][blocks - 1](tile, slice, slice.is_last ? tail : Tail{}, first,
                                                    slots + first * kBlockColumns);
    }
    if (slice.is_last) break;
    const int64_t done = slice.end - slice.begin;
    slice.weights.advance(done);
    slice.prefetch.advance(done);
    slice.begin = slice.end;
    slice.end = smaller(num_words, slice.end + slice_rows);
    slice.is_last = slice.end == num_words;
  }
  if (tile.activation == Activation::kNone) return;
  if (tile.y_type == OutputType::kF32) {
    finish_blocks<Dot, float>(tile, slots);
  } else if constexpr (Dot::kElements > 1) {
    finish_blocks<Dot, BF16>(tile, slots);
  }
}

template <typename Dot>
constexpr TileKernel kTileKernel = {.max_rows = kMaxRows<Dot>, .run = run_tile<Dot>};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
