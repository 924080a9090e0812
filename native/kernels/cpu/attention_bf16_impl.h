// attention_bf16_forward over the vector wrapper. Included by attention_bf16_<isa>.cpp after the wrapper.
//
// As attention_forward, in words of two bf16: K is transposed by words (two coordinates of neighbouring
// keys), V is interleaved by pairs of keys, and a row's weights are rounded to bf16, so that both products
// run over words. What a strip needs of K and V fits the nearer caches up to some thousand keys, so a strip
// is one register tile of rows.

#include "kernels/cpu/attention_scores.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct BF16Product {
  using Operand = BF16Words;
  ELASTICLM_INLINE static Operand query(const float* word) {
    return bf16_words(broadcast_word(load_word(reinterpret_cast<const std::byte*>(word))));
  }
  ELASTICLM_INLINE static Operand keys(const float* words) {
    return bf16_words(load_words(reinterpret_cast<const std::byte*>(words)));
  }
  ELASTICLM_INLINE static Vec add(Vec sum, Operand query, Operand keys) { return dot(sum, query, keys); }
};

struct Scratch {
  float* keys = nullptr;     // [panels][words of D, up to kPanelKeys]
  float* values = nullptr;   // [pairs of keys, D rounded up to kLanes] words
  float* scores = nullptr;   // [kTileRows, ld_scores]; then a row's weights in bf16, from the row's start
  float* row_max = nullptr;  // [kTileRows, kLanes]
  int64_t ld_scores = 0;
  int64_t ld_values = 0;
  int64_t num_floats = 0;
};

ELASTICLM_INLINE Scratch lay_out_scratch(float* base, int64_t num_keys, int64_t head_dim) {
  Scratch scratch;
  scratch.ld_scores = score_stride(num_keys);
  scratch.ld_values = divide_up(head_dim, kLanes) * kLanes;
  float* next = base;
  const auto take = [&next](int64_t floats) {
    float* region = next;
    next += divide_up(floats, kLineFloats) * kLineFloats;
    return region;
  };
  scratch.keys = take(divide_up(num_keys, kLanes) * kLanes * head_dim / 2);
  scratch.values = take(divide_up(num_keys, 2) * scratch.ld_values);
  scratch.scores = take(kTileRows * scratch.ld_scores);
  scratch.row_max = take(kTileRows * kLanes);
  scratch.num_floats = next - base;
  return scratch;
}

// Pairs of rows of v [num_keys, D], zeros beside an odd last one and behind D.
void interleave_values(const BF16* v, const AttentionBf16Args& args, const Scratch& scratch) {
  const int64_t D = args.head_dim;
  const int64_t whole = D / kLanes * kLanes;
  for (int64_t key = 0; key < args.num_rows; key += 2) {
    const BF16* first = v + key * args.ldqkv;
    const BF16* second = first + args.ldqkv;
    BF16 none[kLanes] = {};
    const bool is_pair = key + 1 < args.num_rows;
    float* const words = scratch.values + key / 2 * scratch.ld_values;
    for (int64_t column = 0; column < whole; column += kLanes) {
      store_words(reinterpret_cast<std::byte*>(words + column),
                  interleave_bf16(first + column, is_pair ? second + column : none));
    }
    if (whole < D) {
      const auto rest_bytes = static_cast<size_t>(D - whole) * sizeof(BF16);
      BF16 rest[2][kLanes] = {};
      std::memcpy(rest[0], first + whole, rest_bytes);
      if (is_pair) std::memcpy(rest[1], second + whole, rest_bytes);
      store_words(reinterpret_cast<std::byte*>(words + whole), interleave_bf16(rest[0], rest[1]));
    }
  }
}

// scores[0 .. num_vecs * kLanes) -> 2^(log2_scale (score - largest)) in bf16, from the same place on; returns
// the sum before rounding. What has no key has score -inf and weight 0.
ELASTICLM_INLINE float softmax_weights(float* scores, int64_t num_vecs, float largest, float log2_scale) {
  const Vec gain = broadcast(log2_scale);
  const Vec shift = broadcast(-largest * log2_scale);
  BF16* const weights = reinterpret_cast<BF16*>(scores);
  Vec sum = zero();
  for (int64_t i = 0; i < num_vecs; ++i) {
    const Vec weight = exp2_near(fma(load(scores + i * kLanes), gain, shift));
    store_bf16(weights + i * kLanes, weight);  // never past what has been read
    sum = sum + weight;
  }
  return reduce_add(sum);
}

// Context of up to kTileRows query rows and kTileVecs vectors of columns.
struct ContextTile {
  const float* weights = nullptr;   // [rows, pairs of keys] words, ld_weights
  const float* values = nullptr;    // [pairs of keys, columns] words, ld_values
  const float* row_gain = nullptr;  // [rows]
  BF16* context = nullptr;          // [rows, columns], ldcontext
  int64_t ld_weights = 0;
  int64_t ld_values = 0;
  int64_t ldcontext = 0;
  int64_t num_pairs = 0;
  int64_t last_columns = 0;  // of the last vector
};

template <int kRows, int kVecs>
void context_tile(const ContextTile& tile) {
  Vec acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) acc[r][c] = zero();
  }
  const float* values = tile.values;
  for (int64_t pair = 0; pair < tile.num_pairs; ++pair, values += tile.ld_values) {
    BF16Words value[kVecs];
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) value[c] = BF16Product::keys(values + c * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const BF16Words weight = BF16Product::query(tile.weights + r * tile.ld_weights + pair);
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) acc[r][c] = dot(acc[r][c], weight, value[c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const Vec gain = broadcast(tile.row_gain[r]);
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) {
      BF16* const target = tile.context + r * tile.ldcontext + c * kLanes;
      if (c == kVecs - 1 && tile.last_columns < kLanes) {
        BF16 last[kLanes];
        store_bf16(last, acc[r][c] * gain);
        std::memcpy(target, last, static_cast<size_t>(tile.last_columns) * sizeof(BF16));
      } else {
        store_bf16(target, acc[r][c] * gain);
      }
    }
  }
}

// One function per tile height: [vecs - 1][rows - 1].
using RunContextTile = void (*)(const ContextTile&);
#define ELASTICLM_CONTEXT_TILES(kVecs)                                                              \
  {                                                                                                 \
    context_tile<1, kVecs>, context_tile<2, kVecs>, context_tile<3, kVecs>, context_tile<4, kVecs>, \
        context_tile<smaller(5, kTileRows), kVecs>, context_tile<smaller(6, kTileRows), kVecs>,     \
        context_tile<smaller(7, kTileRows), kVecs>, context_tile<smaller(8, kTileRows), kVecs>      \
  }
constexpr RunContextTile kContextTiles[kTileVecs][8] = {
    ELASTICLM_CONTEXT_TILES(1), ELASTICLM_CONTEXT_TILES(2), ELASTICLM_CONTEXT_TILES(3)};
#undef ELASTICLM_CONTEXT_TILES

// One head's part of the arguments.
struct Head {
  const BF16* q = nullptr;  // [S, D], ld; k and v stand behind it
  BF16* context = nullptr;  // [S, D], ldcontext
};

void score_rows(const AttentionBf16Args& args, const Scratch& scratch, const BF16* q, int64_t num_rows) {
  for (int64_t key = 0; key < args.num_rows; key += kPanelKeys) {
    const int64_t keys = smaller(kPanelKeys, args.num_rows - key);
    const int64_t vecs = divide_up(keys, kLanes);
    ScoreTile tile;
    tile.q = reinterpret_cast<const float*>(q);
    tile.keys = scratch.keys + key * args.head_dim / 2;
    tile.scores = scratch.scores + key;
    tile.row_max = scratch.row_max;
    tile.ldq = args.ldqkv / 2;
    tile.ld_scores = scratch.ld_scores;
    tile.num_words = args.head_dim / 2;
    tile.last_keys = keys - (vecs - 1) * kLanes;
    tile.first_panel = key == 0;
    kScoreTiles<BF16Product>[vecs - 1][num_rows - 1](tile);
  }
}

void attend(const AttentionBf16Args& args, const Scratch& scratch, const Head& head) {
  const int64_t D = args.head_dim;
  transpose_keys(reinterpret_cast<const float*>(head.q + D), args.ldqkv / 2, args.num_rows, D / 2,
                 scratch.keys);
  interleave_values(head.q + 2 * D, args, scratch);
  const int64_t num_vecs = divide_up(args.num_rows, kLanes);
  for_each_piece(args.query_end - args.query_begin, kTileRows, [&](int64_t begin, int64_t num_rows) {
    const int64_t row_begin = args.query_begin + begin;
    score_rows(args, scratch, head.q + row_begin * args.ldqkv, num_rows);
    float row_gain[kTileRows];
    for (int64_t row = 0; row < num_rows; ++row) {
      const float largest = reduce_max(load(scratch.row_max + row * kLanes));
      float* const scores = scratch.scores + row * scratch.ld_scores;
      row_gain[row] = 1.0f / softmax_weights(scores, num_vecs, largest, args.scale * kLog2E);
    }
    ContextTile tile;
    tile.weights = scratch.scores;
    tile.row_gain = row_gain;
    tile.ld_weights = scratch.ld_scores;
    tile.ld_values = scratch.ld_values;
    tile.ldcontext = args.ldcontext;
    tile.num_pairs = divide_up(args.num_rows, 2);
    for_each_piece(scratch.ld_values / kLanes, kTileVecs, [&](int64_t vec, int64_t vecs) {
      const int64_t column = vec * kLanes;
      tile.values = scratch.values + column;
      tile.context = head.context + row_begin * args.ldcontext + column;
      tile.last_columns = smaller(kLanes, D - column - (vecs - 1) * kLanes);
      kContextTiles[vecs - 1][num_rows - 1](tile);
    });
  });
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

int64_t ELASTICLM_KERNEL(attention_bf16_scratch_floats)(int64_t num_rows, int64_t head_dim) {
  float origin = 0.0f;  // only distances from it are used
  return ELASTICLM_ISA_NAMESPACE::lay_out_scratch(&origin, num_rows, head_dim).num_floats;
}

void ELASTICLM_KERNEL(attention_bf16_forward)(const AttentionBf16Args& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const isa::Scratch scratch = isa::lay_out_scratch(args.scratch, args.num_rows, args.head_dim);
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    isa::attend(args, scratch, {args.qkv + h * args.head_stride, args.context + h * args.head_dim});
  }
}

}  // namespace elasticlm
