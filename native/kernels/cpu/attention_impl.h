// attention_forward over the vector wrapper. Included by attention_<isa>.cpp after the wrapper.
//
// Per head, K is transposed once into panels of keys, so that a vector holds one coordinate of neighbouring
// keys. Then strips of query rows go through three steps: scores = Q Kᵀ into a strip buffer, softmax over
// each row of it, and context = P V with V read in place. Both products run in register tiles; the strip is
// the only thing that grows with S.
//
// Every score is one chain over d, every context element one chain over the keys, and the softmax of a row
// walks the row from its start: a row's bits are the same in every tile and strip.

#include "kernels/cpu/attention_scores.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct F32Product {
  using Operand = Vec;
  ELASTICLM_INLINE static Operand query(const float* word) { return broadcast(*word); }
  ELASTICLM_INLINE static Operand keys(const float* words) { return load(words); }
  ELASTICLM_INLINE static Vec add(Vec sum, Operand query, Operand keys) { return fma(query, keys, sum); }
};

// Rows of a strip. One tile, unless K and V of a head are too large for the nearer caches: then each panel of
// K and each block of V that is fetched serves several tiles.
constexpr int64_t kMaxStripRows = 4 * kTileRows;
constexpr int64_t kNearCacheFloats = 1 << 16;  // 256 KiB, a quarter of the L2 this was measured on
constexpr int64_t kValueBlockKeys = 128;
constexpr int64_t strip_rows(int64_t num_keys, int64_t head_dim) {
  return 2 * num_keys * head_dim <= kNearCacheFloats ? kTileRows : kMaxStripRows;
}

struct Scratch {
  float* keys = nullptr;      // [panels][D, up to kPanelKeys]
  float* scores = nullptr;    // [kMaxStripRows, ld_scores]
  float* row_max = nullptr;   // [kMaxStripRows, kLanes]
  float* row_gain = nullptr;  // [kMaxStripRows]: 1 / sum of the row's weights
  int64_t ld_scores = 0;
  int64_t num_floats = 0;
};

ELASTICLM_INLINE Scratch lay_out_scratch(float* base, int64_t num_keys, int64_t head_dim) {
  Scratch scratch;
  scratch.ld_scores = score_stride(num_keys);
  float* next = base;
  const auto take = [&next](int64_t floats) {
    float* region = next;
    next += divide_up(floats, kLineFloats) * kLineFloats;
    return region;
  };
  scratch.keys = take(divide_up(num_keys, kLanes) * kLanes * head_dim);
  scratch.scores = take(strip_rows(num_keys, head_dim) * scratch.ld_scores);
  scratch.row_max = take(kMaxStripRows * kLanes);
  scratch.row_gain = take(kMaxStripRows);
  scratch.num_floats = next - base;
  return scratch;
}

// scores[0 .. num_vecs * kLanes) -> 2^(log2_scale (score - largest)); returns the sum.
ELASTICLM_INLINE float softmax_weights(float* scores, int64_t num_vecs, float largest, float log2_scale) {
  const Vec gain = broadcast(log2_scale);
  const Vec shift = broadcast(-largest * log2_scale);
  Vec sum = zero();
  for (int64_t i = 0; i < num_vecs; ++i) {
    const Vec weight = exp2(fma(load(scores + i * kLanes), gain, shift));
    store(scores + i * kLanes, weight);
    sum = sum + weight;
  }
  return reduce_add(sum);
}

// Context of up to kTileRows query rows and kTileVecs vectors of columns, from a block of keys.
struct ContextTile {
  const float* weights = nullptr;   // [rows, num_keys], ld_weights
  const float* v = nullptr;         // [num_keys, columns], ldv
  const float* row_gain = nullptr;  // [rows]
  float* context = nullptr;         // [rows, columns], ldcontext
  int64_t ld_weights = 0;
  int64_t ldv = 0;
  int64_t ldcontext = 0;
  int64_t num_keys = 0;
  bool first_block = false;  // starts the sums, else continues those in context
  bool last_block = false;   // applies row_gain
};

// kLast: columns in the last vector.
template <int kRows, int kVecs, int64_t kLast>
void context_tile(const ContextTile& tile) {
  const auto load_columns = [](const float* p, int c) {
    return kLast < kLanes && c == kVecs - 1 ? load_first(p + c * kLanes, kLast) : load(p + c * kLanes);
  };
  Vec acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) {
      acc[r][c] = tile.first_block ? zero() : load_columns(tile.context + r * tile.ldcontext, c);
    }
  }
  const float* v = tile.v;
  for (int64_t key = 0; key < tile.num_keys; ++key, v += tile.ldv) {
    Vec value[kVecs];
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) value[c] = load_columns(v, c);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec weight = broadcast(tile.weights[r * tile.ld_weights + key]);
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) acc[r][c] = fma(weight, value[c], acc[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const Vec gain = broadcast(tile.last_block ? tile.row_gain[r] : 1.0f);
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) {
      float* target = tile.context + r * tile.ldcontext + c * kLanes;
      if (kLast < kLanes && c == kVecs - 1) {
        store_first(target, acc[r][c] * gain, kLast);
      } else {
        store(target, acc[r][c] * gain);
      }
    }
  }
}

// One function per tile height: [vecs - 1][rows - 1].
#define ELASTICLM_TILE_HEIGHTS(tile, ...)                                                   \
  {                                                                                         \
    tile<1, __VA_ARGS__>, tile<2, __VA_ARGS__>, tile<3, __VA_ARGS__>, tile<4, __VA_ARGS__>, \
        tile<smaller(5, kTileRows), __VA_ARGS__>, tile<smaller(6, kTileRows), __VA_ARGS__>, \
        tile<smaller(7, kTileRows), __VA_ARGS__>, tile<smaller(8, kTileRows), __VA_ARGS__>  \
  }
using RunContextTile = void (*)(const ContextTile&);
constexpr RunContextTile kContextTiles[kTileVecs][8] = {ELASTICLM_TILE_HEIGHTS(context_tile, 1, kLanes),
                                                        ELASTICLM_TILE_HEIGHTS(context_tile, 2, kLanes),
                                                        ELASTICLM_TILE_HEIGHTS(context_tile, 3, kLanes)};
// D is a multiple of 8: only 16 lanes leave columns over, and always 8.
constexpr RunContextTile kPartialContextTiles[kTileVecs][8] = {
    ELASTICLM_TILE_HEIGHTS(context_tile, 1, smaller(8, kLanes)),
    ELASTICLM_TILE_HEIGHTS(context_tile, 2, smaller(8, kLanes)),
    ELASTICLM_TILE_HEIGHTS(context_tile, 3, smaller(8, kLanes))};
#undef ELASTICLM_TILE_HEIGHTS
// One head's part of the arguments.
struct Head {
  const float* q = nullptr;  // [S, D], ld; k and v stand behind it
  float* context = nullptr;  // [S, D], ldcontext
};

void score_strip(const AttentionArgs& args, const Scratch& scratch, const float* q, int64_t num_rows) {
  for (int64_t key = 0; key < args.num_rows; key += kPanelKeys) {
    const int64_t keys = smaller(kPanelKeys, args.num_rows - key);
    const int64_t vecs = divide_up(keys, kLanes);
    for_each_piece(num_rows, kTileRows, [&](int64_t row, int64_t rows) {
      ScoreTile tile;
      tile.q = q + row * args.ldqkv;
      tile.keys = scratch.keys + key * args.head_dim;
      tile.scores = scratch.scores + row * scratch.ld_scores + key;
      tile.row_max = scratch.row_max + row * kLanes;
      tile.ldq = args.ldqkv;
      tile.ld_scores = scratch.ld_scores;
      tile.num_words = args.head_dim;
      tile.last_keys = keys - (vecs - 1) * kLanes;
      tile.first_panel = key == 0;
      kScoreTiles<F32Product>[vecs - 1][rows - 1](tile);
    });
  }
}

void context_strip(const AttentionArgs& args, const Scratch& scratch, const Head& head, int64_t row_begin,
                   int64_t num_rows) {
  const int64_t block_keys = num_rows <= kTileRows ? args.num_rows : kValueBlockKeys;
  const float* v = head.q + 2 * args.head_dim;
  for (int64_t key = 0; key < args.num_rows; key += block_keys) {
    for_each_piece(num_rows, kTileRows, [&](int64_t row, int64_t rows) {
      ContextTile tile;
      tile.weights = scratch.scores + row * scratch.ld_scores + key;
      tile.row_gain = scratch.row_gain + row;
      tile.ld_weights = scratch.ld_scores;
      tile.ldv = args.ldqkv;
      tile.ldcontext = args.ldcontext;
      tile.num_keys = smaller(block_keys, args.num_rows - key);
      tile.first_block = key == 0;
      tile.last_block = key + block_keys >= args.num_rows;
      for_each_piece(divide_up(args.head_dim, kLanes), kTileVecs, [&](int64_t vec, int64_t vecs) {
        const int64_t column = vec * kLanes;
        tile.v = v + key * args.ldqkv + column;
        tile.context = head.context + (row_begin + row) * args.ldcontext + column;
        const bool partial = column + vecs * kLanes > args.head_dim;
        (partial ? kPartialContextTiles : kContextTiles)[vecs - 1][rows - 1](tile);
      });
    });
  }
}

void attend(const AttentionArgs& args, const Scratch& scratch, const Head& head) {
  transpose_keys(head.q + args.head_dim, args.ldqkv, args.num_rows, args.head_dim, scratch.keys);
  const int64_t num_vecs = divide_up(args.num_rows, kLanes);
  const int64_t most_rows = strip_rows(args.num_rows, args.head_dim);
  for_each_piece(args.query_end - args.query_begin, most_rows, [&](int64_t begin, int64_t num_rows) {
    const int64_t row_begin = args.query_begin + begin;
    score_strip(args, scratch, head.q + row_begin * args.ldqkv, num_rows);
    for (int64_t row = 0; row < num_rows; ++row) {
      const float largest = reduce_max(load(scratch.row_max + row * kLanes));
      float* scores = scratch.scores + row * scratch.ld_scores;
      scratch.row_gain[row] = 1.0f / softmax_weights(scores, num_vecs, largest, args.scale * kLog2E);
    }
    context_strip(args, scratch, head, row_begin, num_rows);
  });
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

int64_t ELASTICLM_KERNEL(attention_scratch_floats)(int64_t num_rows, int64_t head_dim) {
  float origin = 0.0f;  // only distances from it are used
  return ELASTICLM_ISA_NAMESPACE::lay_out_scratch(&origin, num_rows, head_dim).num_floats;
}

void ELASTICLM_KERNEL(attention_forward)(const AttentionArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const isa::Scratch scratch = isa::lay_out_scratch(args.scratch, args.num_rows, args.head_dim);
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    isa::attend(args, scratch, {args.qkv + h * args.head_stride, args.context + h * args.head_dim});
  }
}

}  // namespace elasticlm
