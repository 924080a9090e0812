// What the attention kernels share over the vector wrapper: the layout of keys, and scores in register tiles.
// Included by attention_impl.h and attention_bf16_impl.h.

#include "kernels/attention.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// 8 x 3 accumulators and 3 vectors of keys fill 27 of 32 registers, 4 x 3 with a broadcast all 16 of the
// others.
constexpr int kTileRows = kRegisters == 32 ? 8 : 4;
constexpr int kTileVecs = 3;
constexpr int64_t kPanelKeys = kTileVecs * kLanes;

constexpr int64_t kLineFloats = 16;
constexpr float kLog2E = 1.44269504f;

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// An odd number of cache lines, so that the rows of a strip fall into different cache sets.
constexpr int64_t score_stride(int64_t num_keys) {
  return (divide_up(num_keys, kLineFloats) | 1) * kLineFloats;
}

// k: [num_keys, D], ldk -> panels [D, panel's keys rounded up to kLanes], zero keys behind the last. Only
// moves 32 bits at a time: they may as well be words of two bf16.
void transpose_keys(const float* k, int64_t ldk, int64_t num_keys, int64_t head_dim, float* panels) {
  for (int64_t panel_begin = 0; panel_begin < num_keys; panel_begin += kPanelKeys) {
    const int64_t panel_keys = smaller(kPanelKeys, num_keys - panel_begin);
    const int64_t panel_stride = divide_up(panel_keys, kLanes) * kLanes;
    float* panel = panels + panel_begin * head_dim;
    for (int64_t key = 0; key < panel_keys; key += kLanes) {
      const float* source = k + (panel_begin + key) * ldk;
      const int64_t keys = smaller(kLanes, panel_keys - key);
      for (int64_t d = 0; d < head_dim; d += kLanes) {
        const int64_t width = smaller(kLanes, head_dim - d);
        Vec block[kLanes];
        if (keys == kLanes && width == kLanes) {
#pragma GCC unroll 16
          for (int64_t i = 0; i < kLanes; ++i) block[i] = load(source + i * ldk + d);
        } else {
#pragma GCC unroll 16
          for (int64_t i = 0; i < kLanes; ++i) {
            block[i] = i < keys ? load_first(source + i * ldk + d, width) : zero();
          }
        }
        transpose(block);
        float* target = panel + d * panel_stride + key;
        if (width == kLanes) {
#pragma GCC unroll 16
          for (int64_t i = 0; i < kLanes; ++i) store(target + i * panel_stride, block[i]);
        } else {
#pragma GCC unroll 16
          for (int64_t i = 0; i < kLanes; ++i) {
            if (i < width) store(target + i * panel_stride, block[i]);
          }
        }
      }
    }
  }
}

// Cuts [0, count) into pieces of at most `most`, as equal as can be, and calls piece(begin, size).
template <typename Piece>
ELASTICLM_INLINE void for_each_piece(int64_t count, int64_t most, const Piece& piece) {
  int64_t begin = 0;
  for (int64_t left = divide_up(count, most); left > 0; --left) {
    const int64_t size = divide_up(count - begin, left);
    piece(begin, size);
    begin += size;
  }
}

// Scores of up to kTileRows query rows against one panel of keys, in words of 32 bits: `Product` says what
// they hold (query(word), keys(words), add(sum, query, keys)).
struct ScoreTile {
  const float* q = nullptr;     // [rows, words of D], ldq
  const float* keys = nullptr;  // [words of D, vecs * kLanes]
  float* scores = nullptr;      // [rows, vecs * kLanes], ld_scores; -inf where there is no key
  float* row_max = nullptr;     // [rows, kLanes], maxima so far
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
  const float* keys = tile.keys;
  for (int64_t word = 0; word < tile.num_words; ++word, keys += kVecs * kLanes) {
    typename Product::Operand key[kVecs];
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) key[c] = Product::keys(keys + c * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto q = Product::query(tile.q + r * tile.ldq + word);
#pragma GCC unroll 3
      for (int c = 0; c < kVecs; ++c) acc[r][c] = Product::add(acc[r][c], q, key[c]);
    }
  }
  const Vec none = broadcast(-__builtin_inff());
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    if (tile.last_keys < kLanes) acc[r][kVecs - 1] = keep_first(acc[r][kVecs - 1], tile.last_keys, none);
    float* row_max = tile.row_max + r * kLanes;
    Vec largest = tile.first_panel ? none : load(row_max);
#pragma GCC unroll 3
    for (int c = 0; c < kVecs; ++c) {
      store(tile.scores + r * tile.ld_scores + c * kLanes, acc[r][c]);
      largest = max(largest, acc[r][c]);
    }
    store(row_max, largest);
  }
}

// One function per tile height: [vecs - 1][rows - 1].
using RunScoreTile = void (*)(const ScoreTile&);
#define ELASTICLM_SCORE_TILES(Product, kVecs)                                                                \
  {                                                                                                          \
    score_tile<Product, 1, kVecs>, score_tile<Product, 2, kVecs>, score_tile<Product, 3, kVecs>,             \
        score_tile<Product, 4, kVecs>, score_tile<Product, smaller(5, kTileRows), kVecs>,                    \
        score_tile<Product, smaller(6, kTileRows), kVecs>,                                                   \
        score_tile<Product, smaller(7, kTileRows), kVecs>, score_tile<Product, smaller(8, kTileRows), kVecs> \
  }
template <typename Product>
constexpr RunScoreTile kScoreTiles[kTileVecs][8] = {
    ELASTICLM_SCORE_TILES(Product, 1), ELASTICLM_SCORE_TILES(Product, 2), ELASTICLM_SCORE_TILES(Product, 3)};
#undef ELASTICLM_SCORE_TILES

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
