// attention_backward over the vector wrapper. Included by attention_backward_<isa>.cpp after the wrapper.
//
// Per head, K and V are transposed once into panels of keys. Then strips of query rows go through
//   E = 2^(scores - largest) and gain = 1 / rowsum(E), by the forward's own code and with its bits
//   C' = gain dC, so that what follows needs no other factor per row: E C' = P dC
//   dP' = C' Vᵀ, and with it the row sums of E * dP'
//   dS = scale E * (dP' - gain rowsum(E * dP')), in the place of dP'
//   dQ = dS K,  dV += Eᵀ C',  dK += dSᵀ Q
// The sums of dK and dV wait in the output between strips: each is one chain over the query rows, each
// element of dQ one chain over the keys. A strip's E and dS are the only squares that are kept.

#include "kernels/attention_backward.h"
#include "kernels/cpu/attention_f32_product.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// Register tiles of the products: up to three steps of rows, two vectors of columns. 12 x 2 accumulators, two
// vectors and a broadcast take 27 of 32 registers, 6 x 2 take 15 of 16. Two vectors are D = 32 at 16 lanes.
constexpr int kRowStep = kRegisters == 32 ? 4 : 2;
constexpr int kProductRows = 3 * kRowStep;
constexpr int kProductVecs = 2;
constexpr int64_t kProductColumns = kProductVecs * kLanes;

// Query rows of a strip: whole tiles of 12 and 6 rows, so many that fetching and storing the sums of dK and
// dV between strips costs little (24 rows are 4% slower at S = 128, D = 32), and so few that E and dS stay in
// the L2 (36 to 144 rows differ by 3% at most; 2-core Zen 4, 2026-11-24).
constexpr int64_t kBackwardStripRows = 48;
// Tiles may write rows of no meaning behind the last one of a strip.
constexpr int64_t kSpareRows = kTileRows < kRowStep ? kRowStep : kTileRows;

struct BackwardScratch {
  std::byte* keys = nullptr;           // [panels][D, up to panel_keys], K as the forward's tiles read it
  std::byte* values = nullptr;         // [panels][D, up to kProductColumns]
  float* weights = nullptr;            // [rows, ld_weights], E; zero where there is no key
  float* weight_gradients = nullptr;   // [rows, ld_weights], dP', then dS
  float* context_gradients = nullptr;  // [rows, ld_context], C'
  float* row_parts = nullptr;          // [rows, kLanes], parts of a row's maximum or sum
  float* row_gain = nullptr;           // [rows]
  int64_t ld_weights = 0;
  int64_t ld_context = 0;
  int64_t num_floats = 0;
};

BackwardScratch lay_out_backward_scratch(float* base, int64_t num_rows, int64_t head_dim) {
  BackwardScratch scratch;
  scratch.ld_weights = score_stride(num_rows);
  scratch.ld_context = whole_vecs(head_dim);
  const int64_t strip_rows = smaller(kBackwardStripRows, num_rows) + kSpareRows;
  float* next = base;
  const auto take = [&next](int64_t floats) {
    float* region = next;
    next += divide_up(floats, kLineFloats) * kLineFloats;
    return region;
  };
  scratch.keys = reinterpret_cast<std::byte*>(take(whole_vecs(num_rows) * head_dim));
  scratch.values = reinterpret_cast<std::byte*>(take(whole_vecs(num_rows) * head_dim));
  scratch.weights = take(strip_rows * scratch.ld_weights);
  scratch.weight_gradients = take(strip_rows * scratch.ld_weights);
  scratch.context_gradients = take(strip_rows * scratch.ld_context);
  scratch.row_parts = take(strip_rows * kLanes);
  scratch.row_gain = take(strip_rows);
  scratch.num_floats = next - base;
  return scratch;
}

// A product of A and B, or of Aᵀ and B, with the columns of one register tile.
struct ProductTile {
  const float* a = nullptr;  // [rows, depth], lda; transposed: [depth, rows], lda
  const float* b = nullptr;  // [depth, vecs * kLanes], ldb
  int64_t lda = 0;
  int64_t ldb = 0;
  int64_t depth = 0;
};

template <bool kTransposed, int kRows, int kVecs>
ELASTICLM_INLINE void add_product(const ProductTile& tile, Vec (&acc)[kRows][kVecs]) {
  // A pointer for every step of rows: all rows are then within reach of an address with two registers.
  constexpr int kPointers = kTransposed ? 1 : kRows / kRowStep;
  const int64_t lda = tile.lda;
  const int64_t ldb = tile.ldb;
  const float* a[kPointers];
#pragma GCC unroll 3
  for (int i = 0; i < kPointers; ++i) a[i] = tile.a + i * kRowStep * lda;
  const float* b = tile.b;
  for (int64_t left = tile.depth; left > 0; --left, b += ldb) {
    Vec column[kVecs];
#pragma GCC unroll 2
    for (int c = 0; c < kVecs; ++c) column[c] = load(b + c * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Vec x = broadcast(kTransposed ? a[0][r] : a[r / kRowStep % kPointers][r % kRowStep * lda]);
#pragma GCC unroll 2
      for (int c = 0; c < kVecs; ++c) acc[r][c] = fma(x, column[c], acc[r][c]);
    }
#pragma GCC unroll 3
    for (int i = 0; i < kPointers; ++i) a[i] += kTransposed ? lda : 1;
  }
}

// dP' of some query rows and one panel of keys.
struct WeightGradientTile {
  ProductTile product;
  const float* weights = nullptr;     // [rows, vecs * kLanes], ld
  float* weight_gradients = nullptr;  // [rows, vecs * kLanes], ld
  float* row_parts = nullptr;         // [rows, kLanes], sums of E * dP' so far
  int64_t ld = 0;
  bool first_panel = false;
};

template <int kRows, int kVecs>
void weight_gradient_tile(const WeightGradientTile& tile) {
  Vec acc[kRows][kVecs];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kVecs; ++c) acc[r][c] = zero();
  }
  add_product<false>(tile.product, acc);
  const int64_t ld = tile.ld;
  const bool first_panel = tile.first_panel;
  const float* weights = tile.weights;
  float* weight_gradients = tile.weight_gradients;
  float* const row_parts = tile.row_parts;
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r, weights += ld, weight_gradients += ld) {
    Vec sum = first_panel ? zero() : load(row_parts + r * kLanes);
#pragma GCC unroll 2
    for (int c = 0; c < kVecs; ++c) {
      sum = fma(load(weights + c * kLanes), acc[r][c], sum);
      store(weight_gradients + c * kLanes, acc[r][c]);
    }
    store(row_parts + r * kLanes, sum);
  }
}

// Rows and columns of dQ, dK or dV.
struct GradientTile {
  ProductTile product;
  float* gradient = nullptr;  // [num_rows, columns], ld
  int64_t ld = 0;
  int64_t num_rows = 0;  // of the tile's, all but less than kRowStep
  bool add = false;      // to what stands there
};

// D is a multiple of 8: only 16 lanes leave columns over, and always 8.
constexpr int64_t kPartialLanes = smaller(8, kLanes);

template <bool kTransposed, bool kPartial, int kRows, int kVecs>
void gradient_tile(const GradientTile& tile) {
  const int64_t num_rows = tile.num_rows;
  const int64_t ld = tile.ld;
  const auto is_there = [num_rows](int r) { return r <= kRows - kRowStep || r < num_rows; };
  const auto is_cut = [](int c) { return kPartial && kPartialLanes < kLanes && c == kVecs - 1; };
  Vec acc[kRows][kVecs];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kVecs; ++c) acc[r][c] = zero();
  }
  if (tile.add) {
    const float* gradient = tile.gradient;
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r, gradient += ld) {
      if (!is_there(r)) break;
#pragma GCC unroll 2
      for (int c = 0; c < kVecs; ++c) {
        const float* source = gradient + c * kLanes;
        acc[r][c] = is_cut(c) ? load_first(source, kPartialLanes) : load(source);
      }
    }
  }
  add_product<kTransposed>(tile.product, acc);
  float* gradient = tile.gradient;
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r, gradient += ld) {
    if (!is_there(r)) break;
#pragma GCC unroll 2
    for (int c = 0; c < kVecs; ++c) {
      float* target = gradient + c * kLanes;
      if (is_cut(c)) {
        store_first(target, acc[r][c], kPartialLanes);
      } else {
        store(target, acc[r][c]);
      }
    }
  }
}

// One function per tile: [vecs - 1][steps of rows - 1].
#define ELASTICLM_TILE_SIZES(tile)                                       \
  {                                                                      \
    {tile<kRowStep, 1>, tile<2 * kRowStep, 1>, tile<3 * kRowStep, 1>}, { \
      tile<kRowStep, 2>, tile<2 * kRowStep, 2>, tile<3 * kRowStep, 2>    \
    }                                                                    \
  }
constexpr void (*kWeightGradientTiles[2][3])(const WeightGradientTile&) =
    ELASTICLM_TILE_SIZES(weight_gradient_tile);
template <bool kTransposed, bool kPartial>
struct GradientTiles {
  template <int kRows, int kVecs>
  static constexpr auto tile = gradient_tile<kTransposed, kPartial, kRows, kVecs>;
  static constexpr void (*kAll[2][3])(const GradientTile&) = ELASTICLM_TILE_SIZES(tile);
};
#undef ELASTICLM_TILE_SIZES

// Calls tile(begin, rows), whole tiles first.
template <typename Tile>
ELASTICLM_INLINE void for_each_tile(int64_t num_rows, const Tile& tile) {
  for (int64_t row = 0; row < num_rows; row += kProductRows) tile(row, smaller(kProductRows, num_rows - row));
}

// `all` names the first tile; its product's depth and its strides hold for every one.
template <bool kTransposed>
void gradient(GradientTile all, int64_t num_columns) {
  const int64_t num_rows = all.num_rows;
  const float* const b = all.product.b;
  for_each_tile(num_rows, [&](int64_t row, int64_t rows) {
    GradientTile tile = all;
    tile.num_rows = rows;
    tile.product.a += row * (kTransposed ? 1 : all.product.lda);
    for (int64_t column = 0; column < num_columns; column += kProductColumns) {
      const int64_t columns = smaller(kProductColumns, num_columns - column);
      const auto& tiles = columns % kLanes == 0 ? GradientTiles<kTransposed, false>::kAll
                                                : GradientTiles<kTransposed, true>::kAll;
      tile.product.b = b + column;
      tile.gradient = all.gradient + row * all.ld + column;
      tiles[divide_up(columns, kLanes) - 1][divide_up(rows, kRowStep) - 1](tile);
    }
  });
}

// Some query rows of one head, and the head.
struct BackwardStrip {
  const float* q = nullptr;         // [num_rows, D], ldqkv
  const float* k = nullptr;         // [S, D], ldqkv
  const float* dcontext = nullptr;  // [num_rows, D], lddcontext
  float* dq = nullptr;              // [num_rows, D], ldqkv
  float* dk = nullptr;              // [S, D], ldqkv
  float* dv = nullptr;              // [S, D], ldqkv
  int64_t num_rows = 0;
  bool first_strip = false;
};

// E and row_gain, as in the forward.
void weigh_keys(const AttentionBackwardArgs& args, const BackwardScratch& scratch,
                const BackwardStrip& backward_strip) {
  AttentionArgs forward;
  forward.ldqkv = args.ldqkv;
  forward.num_rows = args.num_rows;
  forward.head_dim = args.head_dim;
  forward.scale = args.scale;
  Scratch rows;
  rows.keys = scratch.keys;
  rows.scores = scratch.weights;
  rows.row_max = scratch.row_parts;
  rows.row_gain = scratch.row_gain;
  rows.ld_scores = scratch.ld_weights;
  Strip<float> strip;
  strip.q = reinterpret_cast<const std::byte*>(backward_strip.q);
  strip.num_rows = backward_strip.num_rows;
  if (fits_registers(args.num_rows)) {
    weigh_strip<F32Product>(forward, rows, strip);
  } else {
    score_strip<F32Product>(forward, rows, strip);
    softmax_strip<F32Product>(forward, rows, strip.num_rows);
  }
}

// C', in whole vectors.
void scale_context_gradients(const AttentionBackwardArgs& args, const BackwardScratch& scratch,
                             const BackwardStrip& strip) {
  for (int64_t row = 0; row < strip.num_rows; ++row) {
    const Vec gain = broadcast(scratch.row_gain[row]);
    const float* source = strip.dcontext + row * args.lddcontext;
    float* target = scratch.context_gradients + row * scratch.ld_context;
    int64_t d = 0;
    for (; d + kLanes <= args.head_dim; d += kLanes) store(target + d, load(source + d) * gain);
    if (d < args.head_dim) store(target + d, load_first(source + d, args.head_dim - d) * gain);
  }
}

// dP' and the parts of the rows' sums.
void weight_gradients(const AttentionBackwardArgs& args, const BackwardScratch& scratch, int64_t num_rows) {
  WeightGradientTile tile;
  tile.ld = scratch.ld_weights;
  tile.product.lda = scratch.ld_context;
  tile.product.depth = args.head_dim;
  for (int64_t key = 0; key < args.num_rows; key += kProductColumns) {
    const int64_t vecs = divide_up(smaller(kProductColumns, args.num_rows - key), kLanes);
    tile.first_panel = key == 0;
    tile.product.ldb = vecs * kLanes;
    tile.product.b = reinterpret_cast<const float*>(scratch.values) + key * args.head_dim;
    for_each_tile(num_rows, [&](int64_t row, int64_t rows) {
      tile.product.a = scratch.context_gradients + row * scratch.ld_context;
      tile.weights = scratch.weights + row * tile.ld + key;
      tile.weight_gradients = scratch.weight_gradients + row * tile.ld + key;
      tile.row_parts = scratch.row_parts + row * kLanes;
      kWeightGradientTiles[vecs - 1][divide_up(rows, kRowStep) - 1](tile);
    });
  }
}

// dP' to dS.
void score_gradients(const AttentionBackwardArgs& args, const BackwardScratch& scratch, int64_t num_rows) {
  const int64_t num_columns = whole_vecs(args.num_rows);
  const Vec scale = broadcast(args.scale);
  for (int64_t row = 0; row < num_rows; row += kReducedRows) {
    const int64_t rows = smaller(kReducedRows, num_rows - row);
    Vec parts[kReducedRows];
#pragma GCC unroll 8
    for (int64_t r = 0; r < kReducedRows; ++r) {
      parts[r] = load(scratch.row_parts + (row + smaller(r, rows - 1)) * kLanes);
    }
    alignas(64) float sums[kLanes];
    store(sums, reduce_rows(parts, [](Vec a, Vec b) { return a + b; }));
    for (int64_t r = 0; r < rows; ++r) {
      const Vec mean = broadcast(sums[r] * scratch.row_gain[row + r]);
      const float* weights = scratch.weights + (row + r) * scratch.ld_weights;
      float* gradients = scratch.weight_gradients + (row + r) * scratch.ld_weights;
      for (int64_t key = 0; key < num_columns; key += kLanes) {
        store(gradients + key, load(weights + key) * scale * (load(gradients + key) - mean));
      }
    }
  }
}

void strip_backward(const AttentionBackwardArgs& args, const BackwardScratch& scratch,
                    const BackwardStrip& strip) {
  weigh_keys(args, scratch, strip);
  scale_context_gradients(args, scratch, strip);
  weight_gradients(args, scratch, strip.num_rows);
  score_gradients(args, scratch, strip.num_rows);

  GradientTile tile;
  tile.ld = args.ldqkv;
  tile.product.lda = scratch.ld_weights;

  tile.product.a = scratch.weight_gradients;
  tile.product.b = strip.k;
  tile.product.ldb = args.ldqkv;
  tile.product.depth = args.num_rows;
  tile.gradient = strip.dq;
  tile.num_rows = strip.num_rows;
  gradient<false>(tile, args.head_dim);

  tile.product.b = strip.q;
  tile.product.depth = strip.num_rows;
  tile.gradient = strip.dk;
  tile.num_rows = args.num_rows;
  tile.add = !strip.first_strip;
  gradient<true>(tile, args.head_dim);

  tile.product.a = scratch.weights;
  tile.product.b = scratch.context_gradients;
  tile.product.ldb = scratch.ld_context;
  tile.gradient = strip.dv;
  gradient<true>(tile, args.head_dim);
}

void attend_backward(const AttentionBackwardArgs& args) {
  const int64_t S = args.num_rows;
  const int64_t D = args.head_dim;
  const BackwardScratch scratch = lay_out_backward_scratch(args.scratch, S, D);
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    const float* const qkv = args.qkv + h * args.head_stride;
    float* const dqkv = args.dqkv + h * args.head_stride;
    const auto* const k = reinterpret_cast<const std::byte*>(qkv + D);
    const auto* const v = reinterpret_cast<const std::byte*>(qkv + 2 * D);
    transpose_keys(k, args.ldqkv * kWordBytes, S, D, panel_keys<F32Product>(S), scratch.keys);
    transpose_keys(v, args.ldqkv * kWordBytes, S, D, kProductColumns, scratch.values);
    BackwardStrip strip;
    strip.k = qkv + D;
    strip.dk = dqkv + D;
    strip.dv = dqkv + 2 * D;
    for (int64_t row = 0; row < S; row += kBackwardStripRows) {
      strip.q = qkv + row * args.ldqkv;
      strip.dq = dqkv + row * args.ldqkv;
      strip.dcontext = args.dcontext + row * args.lddcontext + h * D;
      strip.num_rows = smaller(kBackwardStripRows, S - row);
      strip.first_strip = row == 0;
      strip_backward(args, scratch, strip);
    }
  }
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

int64_t ELASTICLM_KERNEL(attention_backward_scratch_floats)(int64_t num_rows, int64_t head_dim) {
  float origin = 0.0f;  // only distances from it are used
  return ELASTICLM_ISA_NAMESPACE::lay_out_backward_scratch(&origin, num_rows, head_dim).num_floats;
}

void ELASTICLM_KERNEL(attention_backward)(const AttentionBackwardArgs& args) {
  ELASTICLM_ISA_NAMESPACE::attend_backward(args);
}

}  // namespace elasticlm
