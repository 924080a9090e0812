// The register tiles of attention, over the vector wrapper. Included by attention_impl.h, which says what
// `Product` offers.

#include <cstring>
#include <type_traits>

#include "kernels/attention.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr int64_t kWordBytes = 4;

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t whole_vecs(int64_t count) { return divide_up(count, kLanes) * kLanes; }

// With three vectors: 8 x 3 accumulators and 3 vectors of keys fill 27 of 32 registers, 4 x 3 with a
// broadcast all 16 of the others.
constexpr int kTileRows = kRegisters == 32 ? 8 : 4;

// Up to so many vectors of keys, the scores of some rows against all keys stay in registers until they are
// weights: 24 accumulators, of 8 rows, of fewer from 4 vectors on. Stores are what this saves: one of 512
// bits takes as long as 1.75 multiply-adds, which do not run beside it (Zen 4, 2026-11-24).
constexpr int kRegisterVecs = kRegisters == 32 && kLanes == 16 ? 8 : 0;
constexpr int register_rows(int64_t vecs) { return vecs <= 3 ? 8 : static_cast<int>(24 / vecs); }
constexpr bool fits_registers(int64_t num_keys) { return divide_up(num_keys, kLanes) <= kRegisterVecs; }

// Scores of up to kTileRows query rows against one panel of keys.
struct ScoreTile {
  const std::byte* q = nullptr;     // [rows], ldq bytes
  const std::byte* keys = nullptr;  // [num_words, vecs * kLanes]
  float* scores = nullptr;          // [rows, vecs * kLanes], ld_scores; -inf where there is no key
  float* row_max = nullptr;         // [rows, kLanes], maxima so far
  int64_t ldq = 0;
  int64_t ld_scores = 0;
  int64_t num_words = 0;
  int64_t last_keys = 0;  // keys in the last vector
  bool first_panel = false;
};

template <typename Product, int kRows, int kVecs>
void score_tile(const ScoreTile& tile) {
  Vec acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) acc[r][c] = zero();
  }
  const std::byte* keys = tile.keys;
  for (int64_t word = 0; word < tile.num_words; ++word, keys += kVecs * kLanes * kWordBytes) {
    typename Product::Operand key[kVecs];
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) key[c] = Product::vector(keys + c * kLanes * kWordBytes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto q = Product::row(tile.q + r * tile.ldq + word * kWordBytes);
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) acc[r][c] = Product::add(acc[r][c], q, key[c]);
    }
  }
  // In locals, which the stores below cannot change.
  const int64_t last_keys = tile.last_keys;
  const int64_t ld_scores = tile.ld_scores;
  const bool first_panel = tile.first_panel;
  float* const row_max = tile.row_max;
  float* scores = tile.scores;
  if (last_keys < kLanes) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      acc[r][kVecs - 1] = keep_first(acc[r][kVecs - 1], last_keys, broadcast(-__builtin_inff()));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r, scores += ld_scores) {
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) store(scores + c * kLanes, acc[r][c]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int c = 1; c < kVecs; ++c) acc[r][0] = max(acc[r][0], acc[r][c]);
  }
  if (!first_panel) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[r][0] = max(load(row_max + r * kLanes), acc[r][0]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) store(row_max + r * kLanes, acc[r][0]);
}

// Scores of up to kRows query rows against all keys and their softmax weights, all in registers.
struct WeightTile {
  const std::byte* q = nullptr;     // [num_rows], ldq bytes
  const std::byte* keys = nullptr;  // [num_words, vecs * kLanes]
  float* weights = nullptr;         // [kRows, ld_weights]: behind num_rows, rows of no meaning are written
  float* row_gain = nullptr;        // [kReducedRows]
  int64_t num_rows = 0;
  int64_t ldq = 0;
  int64_t ld_weights = 0;
  int64_t num_words = 0;
  int64_t last_keys = 0;  // keys in the last vector
  float gain = 0.0f;      // of the exponent over scores
};

template <typename Product, int kRows, int kVecs>
void weight_tile(const WeightTile& tile) {
  const std::byte* q[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) q[r] = tile.q + smaller(r, tile.num_rows - 1) * tile.ldq;
  Vec acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kVecs; ++c) acc[r][c] = zero();
  }
  const std::byte* keys = tile.keys;
  for (int64_t byte = 0; byte < tile.num_words * kWordBytes; byte += kWordBytes) {
    // What there is less of is held, what there is more of passes by.
    if constexpr (kRows < kVecs) {
      typename Product::Operand row[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) row[r] = Product::row(q[r] + byte);
#pragma GCC unroll 8
      for (int c = 0; c < kVecs; ++c) {
        const auto key = Product::vector(keys + c * kLanes * kWordBytes);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) acc[r][c] = Product::add(acc[r][c], row[r], key);
      }
    } else {
      typename Product::Operand key[kVecs];
#pragma GCC unroll 8
      for (int c = 0; c < kVecs; ++c) key[c] = Product::vector(keys + c * kLanes * kWordBytes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const auto x = Product::row(q[r] + byte);
#pragma GCC unroll 8
        for (int c = 0; c < kVecs; ++c) acc[r][c] = Product::add(acc[r][c], x, key[c]);
      }
    }
    keys += kVecs * kLanes * kWordBytes;
  }
  const int64_t last_keys = tile.last_keys;
  if (last_keys < kLanes) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      acc[r][kVecs - 1] = keep_first(acc[r][kVecs - 1], last_keys, broadcast(-__builtin_inff()));
    }
  }
  constexpr int kParts = kRows <= 4 ? 4 : 8;
  Vec parts[kParts];
#pragma GCC unroll 8
  for (int r = 0; r < kParts; ++r) {
    if (r < kRows) {
      parts[r] = acc[r][0];
#pragma GCC unroll 8
      for (int c = 1; c < kVecs; ++c) parts[r] = max(parts[r], acc[r][c]);
    } else {
      parts[r] = parts[r - 1];
    }
  }
  const float gain = tile.gain;
  alignas(64) float shift[kLanes];
  store(shift, reduce_rows(parts, [](Vec a, Vec b) { return max(a, b); }) * broadcast(-gain));
  float* weights = tile.weights;
  const int64_t ld_weights = tile.ld_weights;
  // Two at a time: more would need registers that hold the scores of those that wait.
  constexpr int kStepVecs = smaller(kVecs, 2);
  constexpr int kStepRows = kRows % 2 == 0 && kVecs == 1 ? 2 : 1;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r += kStepRows) {
    Vec sums[kStepRows];
#pragma GCC unroll 8
    for (int i = 0; i < kStepRows; ++i) sums[i] = zero();
#pragma GCC unroll 8
    for (int c = 0; c + kStepVecs <= kVecs; c += kStepVecs) {
      Vec exponents[kStepRows * kStepVecs];
#pragma GCC unroll 8
      for (int i = 0; i < kStepRows * kStepVecs; ++i) {
        exponents[i] = fma(acc[r + i / kStepVecs][c + i % kStepVecs], broadcast(gain),
                           broadcast(shift[r + i / kStepVecs]));
      }
      Product::template weigh<kStepRows, kStepVecs>(exponents, weights + c * kLanes / Product::kElements,
                                                    ld_weights, sums);
    }
    if constexpr (kVecs % kStepVecs > 0) {
      constexpr int kRest = kVecs % kStepVecs;
      Vec exponents[kRest];
#pragma GCC unroll 8
      for (int i = 0; i < kRest; ++i) {
        exponents[i] = fma(acc[r][kVecs - kRest + i], broadcast(gain), broadcast(shift[r]));
      }
      Product::template weigh<1, kRest>(exponents, weights + (kVecs - kRest) * kLanes / Product::kElements,
                                        ld_weights, sums);
    }
    weights += kStepRows * ld_weights;
#pragma GCC unroll 8
    for (int i = 0; i < kStepRows; ++i) parts[r + i] = sums[i];
  }
#pragma GCC unroll 8
  for (int r = kRows; r < kParts; ++r) parts[r] = parts[r - 1];
  store_first(tile.row_gain, broadcast(1.0f) / reduce_rows(parts, [](Vec a, Vec b) { return a + b; }),
              kParts);
}

// Context of up to kTileRows query rows and kTileVecs vectors of columns, from a block of keys.
template <typename Element>
struct ContextTile {
  const std::byte* weights = nullptr;  // [rows, num_words], ld_weights bytes
  const std::byte* values = nullptr;   // [num_words, columns], ld_values bytes
  const float* row_gain = nullptr;     // [rows]
  float* sums = nullptr;               // [rows, columns], ld_sums; where blocks before and after continue
  Element* context = nullptr;          // [rows, columns], ldcontext
  int64_t ld_weights = 0;
  int64_t ld_values = 0;
  int64_t ld_sums = 0;
  int64_t ldcontext = 0;
  int64_t num_words = 0;
  bool first_block = false;
  bool last_block = false;
};

// kLast: columns in the last vector.
template <typename Product, int kRows, int kVecs, int64_t kLast>
void context_tile(const ContextTile<typename Product::Element>& tile) {
  Vec acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) acc[r][c] = zero();
  }
  if (!tile.first_block) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) acc[r][c] = load(tile.sums + r * tile.ld_sums + c * kLanes);
    }
  }
  const std::byte* values = tile.values;
  for (int64_t word = 0; word < tile.num_words; ++word, values += tile.ld_values) {
    typename Product::Operand value[kVecs];
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) {
      const std::byte* source = values + c * kLanes * kWordBytes;
      value[c] = Product::kElements == 1 && kLast < kLanes && c == kVecs - 1
                     ? Product::first_words(source, kLast)
                     : Product::vector(source);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto weight = Product::row(tile.weights + r * tile.ld_weights + word * kWordBytes);
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) acc[r][c] = Product::add(acc[r][c], weight, value[c]);
    }
  }
  if (!tile.last_block) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) store(tile.sums + r * tile.ld_sums + c * kLanes, acc[r][c]);
    }
    return;
  }
  const float* const row_gain = tile.row_gain;
  const int64_t ldcontext = tile.ldcontext;
  auto* target = tile.context;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r, target += ldcontext) {
    const Vec gain = broadcast(row_gain[r]);
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) {
      if (kLast < kLanes && c == kVecs - 1) {
        Product::store_first(target + c * kLanes, acc[r][c] * gain, kLast);
      } else {
        Product::store(target + c * kLanes, acc[r][c] * gain);
      }
    }
  }
}

// One function per tile height: [vecs - 1][rows - 1].
using RunScoreTile = void (*)(const ScoreTile&);
template <typename Product>
using RunContextTile = void (*)(const ContextTile<typename Product::Element>&);
#define ELASTICLM_TILE_HEIGHTS(tile, ...)                                                   \
  {                                                                                         \
    tile<1, __VA_ARGS__>, tile<2, __VA_ARGS__>, tile<3, __VA_ARGS__>, tile<4, __VA_ARGS__>, \
        tile<smaller(5, kTileRows), __VA_ARGS__>, tile<smaller(6, kTileRows), __VA_ARGS__>, \
        tile<smaller(7, kTileRows), __VA_ARGS__>, tile<smaller(8, kTileRows), __VA_ARGS__>  \
  }
template <typename Product>
struct Tiles {
  static constexpr int kMaxVecs = Product::kTileVecs;
  template <int kRows, int kVecs>
  static constexpr RunScoreTile score = score_tile<Product, kRows, smaller(kVecs, kMaxVecs)>;
  template <int kRows, int kVecs, int64_t kLast>
  static constexpr RunContextTile<Product> context =
      context_tile<Product, kRows, smaller(kVecs, kMaxVecs), kLast>;

  static constexpr RunScoreTile kScore[3][8] = {
      ELASTICLM_TILE_HEIGHTS(score, 1), ELASTICLM_TILE_HEIGHTS(score, 2), ELASTICLM_TILE_HEIGHTS(score, 3)};
  static constexpr RunContextTile<Product> kContext[3][8] = {ELASTICLM_TILE_HEIGHTS(context, 1, kLanes),
                                                             ELASTICLM_TILE_HEIGHTS(context, 2, kLanes),
                                                             ELASTICLM_TILE_HEIGHTS(context, 3, kLanes)};
  // D is a multiple of 8: only 16 lanes leave columns over, and always 8.
  static constexpr RunContextTile<Product> kPartialContext[3][8] = {
      ELASTICLM_TILE_HEIGHTS(context, 1, smaller(8, kLanes)),
      ELASTICLM_TILE_HEIGHTS(context, 2, smaller(8, kLanes)),
      ELASTICLM_TILE_HEIGHTS(context, 3, smaller(8, kLanes))};
};
#undef ELASTICLM_TILE_HEIGHTS

// For the rows that are left, one of half the height: [vecs - 1][0: whole, 1: half].
using RunWeightTile = void (*)(const WeightTile&);
#define ELASTICLM_WEIGHT_TILES(vecs) \
  { weight_tile<Product, register_rows(vecs), vecs>, weight_tile<Product, register_rows(vecs) / 2, vecs> }
template <typename Product>
constexpr RunWeightTile kWeightTiles[8][2] = {ELASTICLM_WEIGHT_TILES(1), ELASTICLM_WEIGHT_TILES(2),
                                              ELASTICLM_WEIGHT_TILES(3), ELASTICLM_WEIGHT_TILES(4),
                                              ELASTICLM_WEIGHT_TILES(5), ELASTICLM_WEIGHT_TILES(6),
                                              ELASTICLM_WEIGHT_TILES(7), ELASTICLM_WEIGHT_TILES(8)};
#undef ELASTICLM_WEIGHT_TILES

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
