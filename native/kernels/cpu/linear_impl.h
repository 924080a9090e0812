// linear_forward over the vector wrapper. Included by linear_<isa>.cpp after the wrapper.
//
// Accumulators take three quarters of the registers and leave the rest to weights and one broadcast
// activation: 8 rows x 48 columns on AVX-512, 6 x 16 on AVX2 and NEON, 3 x 16 on SSE2. Fewer rows take more
// columns at once, so that there are enough chains to hide the latency of the multiply-add.
#include "kernels/cpu/linear_tiles.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr int kBlockVecs = kBlockColumns / kLanes;
constexpr int kMaxAccumulators = kRegisters * 3 / 4;
constexpr int kMaxRows =
    kMaxAccumulators / kBlockVecs < kMaxTileRows ? kMaxAccumulators / kBlockVecs : kMaxTileRows;

// How far ahead weights are fetched into the core's L2 cache, in rows of depth of 192 bytes: 16 KB. Only by
// tiles with enough rows that computing takes longer than reading: with fewer, the hardware's own prefetch
// keeps memory busier, and extra requests cost a third (AVX-512, 2 to 4 rows, weights in memory; Zen 4,
// 2026-11-23).
constexpr int64_t kPrefetchDistance = 85;
constexpr int64_t kMinPrefetchRows = kMaxRows * 3 / 4;
constexpr int kPrefetchLocality = 2;

// Where a register tile does not cover a whole panel, the panel is taken in slices of this many rows of
// depth, so that memory is still read from front to back. 16 KB, half of a 32 KB L1 cache; partial sums are
// stored exactly.
constexpr int64_t kSliceDepth = 85;

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Blocks that one register tile of `rows` rows covers.
constexpr int tile_blocks(int rows) {
  const int fit = kMaxAccumulators / (rows * kBlockVecs);
  return fit < kPanelBlocks ? fit : kPanelBlocks;
}

// x Wᵀ of one register tile. Every loop over its arrays is unrolled, or they would live in memory.
template <int kRows, int kBlocks>
struct Accumulators {
  Vec sum[kRows][kBlocks][kBlockVecs];

  ELASTICLM_INLINE void clear() {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v) sum[r][j][v] = zero();
      }
    }
  }

  // Rows of depth [k, k_end) of x; w is at row k of the tile's first block, block j at w + block[j].
  template <bool kPrefetch>
  ELASTICLM_INLINE void add(const float* const (&x)[kRows], int64_t k, int64_t k_end, const float* w,
                            const ptrdiff_t (&block)[kBlocks], const float* prefetch) {
    for (; k < k_end; ++k) {
      Vec weight[kBlocks][kBlockVecs];
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v) weight[j][v] = load(w + block[j] + v * kLanes);
        if constexpr (kPrefetch) __builtin_prefetch(prefetch + block[j], 0, kPrefetchLocality);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const Vec value = broadcast(x[r][k]);
#pragma GCC unroll 3
        for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
          for (int v = 0; v < kBlockVecs; ++v) sum[r][j][v] = fma(value, weight[j][v], sum[r][j][v]);
        }
      }
      w += kPanelColumns;
      if constexpr (kPrefetch) prefetch += kPanelColumns;
    }
  }

  ELASTICLM_INLINE void read(const float* sums) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v) {
          sum[r][j][v] = load(sums + r * kPanelColumns + j * kBlockColumns + v * kLanes);
        }
      }
    }
  }

  ELASTICLM_INLINE void write(float* sums) const {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int j = 0; j < kBlocks; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVecs; ++v)
          store(sums + r * kPanelColumns + j * kBlockColumns + v * kLanes, sum[r][j][v]);
      }
    }
  }
};

// Part of a tile's depth, and from where to prefetch meanwhile.
struct Slice {
  int64_t k_begin;
  int64_t k_end;
  DepthCursor weights;
  PrefetchCursor prefetch;
  bool prefetches;
};

// Adds x Wᵀ over the slice, for the kBlocks blocks from `first` on, to sums [kRows, 48]; the first slice sets
// them.
template <int kRows, int kBlocks>
void multiply(const Tile& tile, const Slice& slice, int64_t first, float* sums) {
  const float* const weights = tile.weights[first];
  const float* const next = tile.next == nullptr ? nullptr : tile.next + (weights - tile.weights[0]);
  const float* x[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) x[r] = tile.rows[r].x;
  ptrdiff_t block[kBlocks];
#pragma GCC unroll 3
  for (int j = 0; j < kBlocks; ++j) block[j] = tile.weights[first + j] - weights;

  Accumulators<kRows, kBlocks> accumulators;
  if (slice.k_begin == 0) {
    accumulators.clear();
  } else {
    accumulators.read(sums);
  }
  DepthCursor at = slice.weights;
  PrefetchCursor prefetch = slice.prefetch;
  for (int64_t k = slice.k_begin; k < slice.k_end;) {
    const float* w = weights + at.row() * kPanelColumns;
    int64_t steps = smaller(slice.k_end - k, at.run_left());
    if (slice.prefetches && !prefetch.done()) {
      steps = smaller(steps, prefetch.run_left());
      const float* const fetched = (prefetch.in_next() ? next : weights) + prefetch.row() * kPanelColumns;
      accumulators.template add<true>(x, k, k + steps, w, block, fetched);
      prefetch.advance(steps);
    } else {
      accumulators.template add<false>(x, k, k + steps, w, block, nullptr);
    }
    at.advance(steps);
    k += steps;
  }
  accumulators.write(sums);
}

using Multiply = void (*)(const Tile& tile, const Slice& slice, int64_t first, float* sums);

template <int kRows, int kBlocks>
constexpr Multiply multiply_of() {
  if constexpr (kRows <= kMaxRows && kBlocks <= tile_blocks(kRows)) return multiply<kRows, kBlocks>;
  return nullptr;
}

constexpr Multiply kMultiply[kMaxTileRows][kPanelBlocks] = {
    {multiply_of<1, 1>(), multiply_of<1, 2>(), multiply_of<1, 3>()},
    {multiply_of<2, 1>(), multiply_of<2, 2>(), multiply_of<2, 3>()},
    {multiply_of<3, 1>(), multiply_of<3, 2>(), multiply_of<3, 3>()},
    {multiply_of<4, 1>(), multiply_of<4, 2>(), multiply_of<4, 3>()},
    {multiply_of<5, 1>(), multiply_of<5, 2>(), multiply_of<5, 3>()},
    {multiply_of<6, 1>(), multiply_of<6, 2>(), multiply_of<6, 3>()},
    {multiply_of<7, 1>(), multiply_of<7, 2>(), multiply_of<7, 3>()},
    {multiply_of<8, 1>(), multiply_of<8, 2>(), multiply_of<8, 3>()},
};

ELASTICLM_INLINE Vec activate(Vec value, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return gelu(value);
    case Activation::kTanh:
      return tanh(value);
    case Activation::kNone:
      break;
  }
  return value;
}

// y = act(sums + bias) + residual. Apart from the multiplication, whose accumulators need the registers.
template <Activation kActivation>
void finish(const Tile& tile, const float* sums) {
  for (int64_t r = 0; r < tile.num_rows; ++r) {
    const TileRow& row = tile.rows[r];
    for (int64_t j = 0; j < tile.num_blocks; ++j) {
      const int64_t at = row.y_offset[j];
      for (int v = 0; v < kBlockVecs; ++v) {
        Vec value = load(sums + r * kPanelColumns + j * kBlockColumns + v * kLanes);
        if (tile.bias[j] != nullptr) value = value + load(tile.bias[j] + v * kLanes);
        value = activate(value, kActivation);
        if (row.residual != nullptr) value = value + load(row.residual + at + v * kLanes);
        store(row.y + at + v * kLanes, value);
      }
    }
  }
}

void run_tile(const Tile& tile) {
  alignas(64) float sums[kMaxRows * kPanelColumns];
  int64_t depth = 0;
  for (const KRun& run : tile.depth) depth += run.k_count;
  const int64_t step = tile_blocks(static_cast<int>(tile.num_rows));
  const int64_t slice_depth = tile.brings_weights && tile.num_blocks > step ? kSliceDepth : depth;
  Slice slice = {.k_begin = 0,
                 .k_end = smaller(depth, slice_depth),
                 .weights = DepthCursor(tile.depth),
                 .prefetch = PrefetchCursor(tile, kPrefetchDistance),
                 .prefetches = tile.brings_weights && tile.num_rows >= kMinPrefetchRows};
  for (;;) {
    for (int64_t first = 0; first < tile.num_blocks; first += step) {
      const int64_t blocks = smaller(tile.num_blocks - first, step);
      kMultiply[tile.num_rows - 1][blocks - 1](tile, slice, first, sums + first * kBlockColumns);
    }
    const int64_t done = slice.k_end - slice.k_begin;
    if (slice.k_end == depth) break;
    slice.weights.advance(done);
    slice.prefetch.advance(done);
    slice.k_begin = slice.k_end;
    slice.k_end = smaller(depth, slice.k_end + slice_depth);
  }
  switch (tile.activation) {
    case Activation::kNone:
      return finish<Activation::kNone>(tile, sums);
    case Activation::kGelu:
      return finish<Activation::kGelu>(tile, sums);
    case Activation::kTanh:
      return finish<Activation::kTanh>(tile, sums);
  }
}

constexpr TileKernel kTileKernel = {.max_rows = kMaxRows, .run = run_tile};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(linear_forward)(const LinearArgs& args) {
  for_each_tile(args, ELASTICLM_ISA_NAMESPACE::kTileKernel);
}

}  // namespace elasticlm
