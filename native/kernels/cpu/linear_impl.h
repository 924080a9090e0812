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
//   value(slots, row scale, column scales)  a vector of y before the bias
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
  accumulators.write(slots);
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

ELASTICLM_INLINE void store_value(float* y, Vec value) { store(y, value); }
ELASTICLM_INLINE void store_value(BF16* y, Vec value) { store_bf16(y, value); }

// y = act(sums + bias) + residual. Apart from the multiplication, whose accumulators need the registers.
template <typename Dot, Activation kActivation, typename Element>
void finish(const Tile& tile, const float* slots) {
  for (int64_t j = 0; j < tile.num_blocks; ++j) {
    for (int v = 0; v < kBlockVecs; ++v) {
      const int64_t column = v * kLanes;
      const Vec bias = tile.bias[j] == nullptr ? zero() : load(tile.bias[j] + column);
      const Vec scale = Dot::kHasScales ? load(tile.scales[j] + column) : zero();
      for (int64_t r = 0; r < tile.num_rows; ++r) {
        const TileRow& row = tile.rows[r];
        const int64_t at = row.y_offset[j] + column;
        Vec value =
            Dot::value(slots + r * kPanelColumns + j * kBlockColumns + column, row.scale, scale) + bias;
        // bf16 rounds by up to 2^-9 of the value: GELU need not be nearer than a hundredth of that.
        if constexpr (kActivation == Activation::kGelu) {
          value = std::is_same_v<Element, float> ? gelu(value) : gelu_near(value);
        }
        if constexpr (kActivation == Activation::kTanh) value = tanh(value);
        if constexpr (std::is_same_v<Element, float>) {
          if (row.residual != nullptr) value = value + load(row.residual + at);
        }
        store_value(reinterpret_cast<Element*>(row.y) + at, value);
      }
    }
  }
}

template <typename Dot, typename Element>
void finish_as(const Tile& tile, const float* slots) {
  switch (tile.activation) {
    case Activation::kNone:
      return finish<Dot, Activation::kNone, Element>(tile, slots);
    case Activation::kGelu:
      return finish<Dot, Activation::kGelu, Element>(tile, slots);
    case Activation::kTanh:
      return finish<Dot, Activation::kTanh, Element>(tile, slots);
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
                      .weights = DepthCursor<Dot::kElements>(tile.depth),
                      .prefetch = PrefetchCursor<Dot::kElements>(tile, kPrefetchDistance),
                      .prefetches = tile.brings_weights && tile.num_rows >= kMaxRows<Dot> * 3 / 4};
  for (;;) {
    const bool is_last = slice.end == num_words;
    for (int64_t first = 0; first < tile.num_blocks; first += step) {
      const int64_t blocks = smaller(tile.num_blocks - first, step);
      kMultiply<Dot>[tile.num_rows - 1][blocks - 1](tile, slice, is_last ? tail : Tail{}, first,
                                                    slots + first * kBlockColumns);
    }
    if (is_last) break;
    const int64_t done = slice.end - slice.begin;
    slice.weights.advance(done);
    slice.prefetch.advance(done);
    slice.begin = slice.end;
    slice.end = smaller(num_words, slice.end + slice_rows);
  }
  if (tile.y_type == OutputType::kF32) {
    finish_as<Dot, float>(tile, slots);
  } else if constexpr (Dot::kElements > 1) {
    finish_as<Dot, BF16>(tile, slots);
  }
}

template <typename Dot>
constexpr TileKernel kTileKernel = {.max_rows = kMaxRows<Dot>, .run = run_tile<Dot>};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
