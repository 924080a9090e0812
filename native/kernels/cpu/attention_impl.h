// Attention over the vector wrapper, in any precision. Included by attention_f32_impl.h and
// attention_bf16_impl.h, whose `Product` says what a word of 32 bits holds and how it is multiplied:
//   Element, kElements                 of a word
//   kTileVecs                          vectors of keys or columns in a register tile
//   Operand                            words as `add` wants them
//   row(p), vector(p), first_words(p)  one word in every lane; kLanes words; the first n of them
//   add(sum, row, vector)
//   kExponentUnit                      exponents of 2 are multiplied by it
//   weigh(exponents, …)                exponents to softmax weights, as `row` reads them, and their sums
//   lay_out_values(args, v, values), ld_values(args)  V as `vector` reads it, in words of neighbouring keys
//   store(p, a), store_first(p, a, n)  of the context
//
// Per head, K is transposed once into panels of keys, so that a vector holds one word of neighbouring keys,
// and V is laid out. Then strips of query rows go through scores = Q Kᵀ, softmax, and context = P V. Both
// products run in register tiles. Where a tile's rows meet all keys at once, scores become weights without
// leaving the registers; longer sequences keep the scores of a strip, the only thing that grows with S.
//
// Every score is one chain over d, every context element one chain over the keys, and the softmax of a row
// walks the row from its start: a row's bits are the same in every tile and strip.

#include "kernels/cpu/attention_tiles.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr int64_t kLineFloats = 16;
constexpr float kLog2E = 1.44269504f;

// Rows of a strip. Whole tiles of either product; one tile where scores do not fit the registers, unless K
// and V of a head are too large for the nearer caches: then each panel of K and each block of V that is
// fetched serves several tiles.
constexpr int64_t kRegisterStripRows = 24;
constexpr int64_t kFarStripRows = 4 * kTileRows;
constexpr int64_t kMaxStripRows = kFarStripRows < kRegisterStripRows ? kRegisterStripRows : kFarStripRows;
constexpr int64_t kNearCacheBytes = 1 << 18;  // a quarter of the L2 this was measured on
constexpr int64_t kValueBlockWords = 128;     // of V, where strips have kFarStripRows rows
constexpr int64_t strip_rows(int64_t num_keys, int64_t head_bytes) {
  if (fits_registers(num_keys)) return kRegisterStripRows;
  return head_bytes <= kNearCacheBytes ? kTileRows : kFarStripRows;
}

// An odd number of cache lines, so that the rows of a strip fall into different cache sets.
constexpr int64_t score_stride(int64_t num_keys) {
  return (divide_up(num_keys, kLineFloats) | 1) * kLineFloats;
}

template <typename Product>
constexpr int64_t panel_keys(int64_t num_keys) {
  return (fits_registers(num_keys) ? kRegisterVecs : Product::kTileVecs) * kLanes;
}

template <typename Product>
using Args = AttentionArgsOf<typename Product::Element>;

struct Scratch {
  std::byte* keys = nullptr;    // [panels][words of D, up to panel_keys]
  std::byte* values = nullptr;  // [words of S, D rounded up to kLanes], if V is not read in place
  float* scores = nullptr;      // [strip_rows, ld_scores], then the weights in words of neighbouring keys
  float* row_max = nullptr;     // [strip_rows, kLanes], then the parts of a row's sum
  float* row_gain = nullptr;    // [strip_rows]: 1 / sum of the row's weights
  float* sums = nullptr;        // [strip_rows, D rounded up to kLanes], between blocks of V
  int64_t ld_scores = 0;
  int64_t strip_rows = 0;
  int64_t num_floats = 0;
};

template <typename Product>
ELASTICLM_INLINE Scratch lay_out_scratch(float* base, int64_t num_keys, int64_t head_dim) {
  constexpr int64_t kElements = Product::kElements;
  Scratch scratch;
  scratch.ld_scores = score_stride(num_keys);
  scratch.strip_rows =
      strip_rows(num_keys, 2 * num_keys * head_dim * int64_t{sizeof(typename Product::Element)});
  float* next = base;
  const auto take = [&next](int64_t floats) {
    float* region = next;
    next += divide_up(floats, kLineFloats) * kLineFloats;
    return region;
  };
  scratch.keys = reinterpret_cast<std::byte*>(take(whole_vecs(num_keys) * (head_dim / kElements)));
  if (kElements > 1) {
    scratch.values =
        reinterpret_cast<std::byte*>(take(divide_up(num_keys, kElements) * whole_vecs(head_dim)));
  }
  const int64_t written_rows = scratch.strip_rows + kTileRows;  // the last weight tile may go past the strip
  scratch.scores = take(written_rows * scratch.ld_scores);
  scratch.row_max = take(scratch.strip_rows * kLanes);
  scratch.row_gain = take(written_rows);
  scratch.sums = take(scratch.strip_rows * whole_vecs(head_dim));
  scratch.num_floats = next - base;
  return scratch;
}

// Enough for num_rows and for every shorter sequence: where scores fit the registers, strips have more rows.
template <typename Product>
int64_t scratch_floats(int64_t num_rows, int64_t head_dim) {
  float origin = 0.0f;  // only distances from it are used
  const int64_t whole = lay_out_scratch<Product>(&origin, num_rows, head_dim).num_floats;
  const int64_t in_registers = smaller(num_rows, kRegisterVecs * kLanes);
  const int64_t part = lay_out_scratch<Product>(&origin, in_registers, head_dim).num_floats;
  return part < whole ? whole : part;
}

// k: rows of num_words words, ldk bytes apart -> panels [num_words, panel's keys rounded up to kLanes], zero
// keys behind the last.
void transpose_keys(const std::byte* k, int64_t ldk, int64_t num_keys, int64_t num_words, int64_t most_keys,
                    std::byte* panels) {
  for (int64_t panel_begin = 0; panel_begin < num_keys; panel_begin += most_keys) {
    const int64_t panel_keys = smaller(most_keys, num_keys - panel_begin);
    const int64_t panel_stride = whole_vecs(panel_keys) * kWordBytes;
    std::byte* panel = panels + panel_begin * num_words * kWordBytes;
    for (int64_t key = 0; key < panel_keys; key += kLanes) {
      const std::byte* source = k + (panel_begin + key) * ldk;
      const int64_t keys = smaller(kLanes, panel_keys - key);
      for (int64_t d = 0; d < num_words; d += kLanes) {
        const int64_t width = smaller(kLanes, num_words - d);
        Vec block[kLanes];
        if (keys == kLanes && width == kLanes) {
#pragma GCC unroll 16
          for (int64_t i = 0; i < kLanes; ++i) {
            block[i] = as_floats(load_words(source + i * ldk + d * kWordBytes));
          }
        } else {
#pragma GCC unroll 16
          for (int64_t i = 0; i < kLanes; ++i) {
            block[i] =
                i < keys ? as_floats(load_first_words(source + i * ldk + d * kWordBytes, width)) : zero();
          }
        }
        transpose(block);
        std::byte* target = panel + d * panel_stride + key * kWordBytes;
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) {
          if (i < width) store(reinterpret_cast<float*>(target + i * panel_stride), block[i]);
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

// Some query rows of one head.
template <typename Element>
struct Strip {
  const std::byte* q = nullptr;       // [num_rows, D], ldqkv
  const std::byte* values = nullptr;  // V as the product reads it
  Element* context = nullptr;         // [num_rows, D], ldcontext
  int64_t num_rows = 0;
};

template <typename Product>
void score_strip(const Args<Product>& args, const Scratch& scratch,
                 const Strip<typename Product::Element>& strip) {
  constexpr int64_t kPanelKeys = Product::kTileVecs * kLanes;
  const int64_t num_words = args.head_dim / Product::kElements;
  for (int64_t key = 0; key < args.num_rows; key += kPanelKeys) {
    const int64_t keys = smaller(kPanelKeys, args.num_rows - key);
    const int64_t vecs = divide_up(keys, kLanes);
    for_each_piece(strip.num_rows, kTileRows, [&](int64_t row, int64_t rows) {
      ScoreTile tile;
      tile.ldq = args.ldqkv * (kWordBytes / Product::kElements);
      tile.q = strip.q + row * tile.ldq;
      tile.keys = scratch.keys + key * num_words * kWordBytes;
      tile.scores = scratch.scores + row * scratch.ld_scores + key;
      tile.row_max = scratch.row_max + row * kLanes;
      tile.ld_scores = scratch.ld_scores;
      tile.num_words = num_words;
      tile.last_keys = keys - (vecs - 1) * kLanes;
      tile.first_panel = key == 0;
      Tiles<Product>::kScore[vecs - 1][rows - 1](tile);
    });
  }
}

// Rows whose weights are computed side by side, two vectors of each: chains enough that the exponential's
// instructions do not fill the core's queue while they wait, as far as registers allow.
constexpr int kSoftmaxRows = kRegisters == 32 ? 4 : 1;

template <typename Product, int kRows>
ELASTICLM_INLINE void softmax_rows(float* scores, int64_t ld, int64_t num_vecs, float gain,
                                   const float* shifts, float* sums) {
  Vec shift[kRows];
  Vec sum[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    shift[r] = broadcast(shifts[r]);
    sum[r] = zero();
  }
  const auto weigh = [&]<int kVecs>(int64_t vec, std::integral_constant<int, kVecs>)
      __attribute__((always_inline)) {
    Vec exponents[kRows * kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kRows * kVecs; ++i) {
      exponents[i] =
          fma(load(scores + i / kVecs * ld + (vec + i % kVecs) * kLanes), broadcast(gain), shift[i / kVecs]);
    }
    Product::template weigh<kRows, kVecs>(exponents, scores + vec * kLanes / Product::kElements, ld, sum);
  };
  int64_t vec = 0;
  for (; vec + 2 <= num_vecs; vec += 2) weigh(vec, std::integral_constant<int, 2>());
  if (vec < num_vecs) weigh(vec, std::integral_constant<int, 1>());
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) store(sums + r * kLanes, sum[r]);
}

// Scores of a strip to weights, and row_gain. Maxima and sums are taken over the lanes of several rows at
// once.
template <typename Product>
void softmax_strip(const Args<Product>& args, const Scratch& scratch, int64_t num_rows) {
  const int64_t num_vecs = divide_up(args.num_rows, kLanes);
  const float gain = args.scale * kLog2E * Product::kExponentUnit;
  for (int64_t row = 0; row < num_rows; row += kReducedRows) {
    const int64_t rows = smaller(kReducedRows, num_rows - row);
    float* parts = scratch.row_max + row * kLanes;
    alignas(64) float shift[kLanes];
    Vec all[kReducedRows];
#pragma GCC unroll 8
    for (int64_t r = 0; r < kReducedRows; ++r) all[r] = load(parts + smaller(r, rows - 1) * kLanes);
    store(shift, reduce_rows(all, [](Vec a, Vec b) { return max(a, b); }) * broadcast(-gain));
    float* scores = scratch.scores + row * scratch.ld_scores;
    int64_t r = 0;
    for (; r + kSoftmaxRows <= rows; r += kSoftmaxRows) {
      softmax_rows<Product, kSoftmaxRows>(scores + r * scratch.ld_scores, scratch.ld_scores, num_vecs, gain,
                                          shift + r, parts + r * kLanes);
    }
    for (; r < rows; ++r) {
      softmax_rows<Product, 1>(scores + r * scratch.ld_scores, scratch.ld_scores, num_vecs, gain, shift + r,
                               parts + r * kLanes);
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kReducedRows; ++r) all[r] = load(parts + smaller(r, rows - 1) * kLanes);
    store_first(scratch.row_gain + row,
                broadcast(1.0f) / reduce_rows(all, [](Vec a, Vec b) { return a + b; }), kReducedRows);
  }
}

// Scores and softmax of a strip in one, where all keys fit the registers.
template <typename Product>
void weigh_strip(const Args<Product>& args, const Scratch& scratch,
                 const Strip<typename Product::Element>& strip) {
  if constexpr (kRegisterVecs > 0) {
    const int64_t vecs = divide_up(args.num_rows, kLanes);
    const int64_t most_rows = register_rows(vecs);
    WeightTile tile;
    tile.keys = scratch.keys;
    tile.ldq = args.ldqkv * (kWordBytes / Product::kElements);
    tile.ld_weights = scratch.ld_scores;
    tile.num_words = args.head_dim / Product::kElements;
    tile.last_keys = args.num_rows - (vecs - 1) * kLanes;
    tile.gain = args.scale * kLog2E * Product::kExponentUnit;
    for (int64_t row = 0; row < strip.num_rows; row += tile.num_rows) {
      const bool is_half = strip.num_rows - row <= most_rows / 2;
      tile.num_rows = smaller(most_rows, strip.num_rows - row);
      tile.q = strip.q + row * tile.ldq;
      tile.weights = scratch.scores + row * scratch.ld_scores;
      tile.row_gain = scratch.row_gain + row;
      kWeightTiles<Product>[vecs - 1][is_half](tile);
    }
  }
}

template <typename Product>
void context_strip(const Args<Product>& args, const Scratch& scratch,
                   const Strip<typename Product::Element>& strip) {
  const int64_t all_words = divide_up(args.num_rows, Product::kElements);
  const int64_t block_words = strip.num_rows <= kRegisterStripRows ? all_words : kValueBlockWords;
  for (int64_t word = 0; word < all_words; word += block_words) {
    for_each_piece(strip.num_rows, kTileRows, [&](int64_t row, int64_t rows) {
      ContextTile<typename Product::Element> tile;
      tile.ld_weights = scratch.ld_scores * kWordBytes;
      tile.weights = reinterpret_cast<const std::byte*>(scratch.scores + row * scratch.ld_scores + word);
      tile.row_gain = scratch.row_gain + row;
      tile.ld_values = Product::ld_values(args);
      tile.ld_sums = whole_vecs(args.head_dim);
      tile.ldcontext = args.ldcontext;
      tile.num_words = smaller(block_words, all_words - word);
      tile.first_block = word == 0;
      tile.last_block = word + block_words >= all_words;
      for_each_piece(divide_up(args.head_dim, kLanes), Product::kTileVecs, [&](int64_t vec, int64_t vecs) {
        const int64_t column = vec * kLanes;
        tile.values = strip.values + word * tile.ld_values + column * kWordBytes;
        tile.sums = scratch.sums + row * tile.ld_sums + column;
        tile.context = strip.context + row * args.ldcontext + column;
        const bool partial = column + vecs * kLanes > args.head_dim;
        (partial ? Tiles<Product>::kPartialContext : Tiles<Product>::kContext)[vecs - 1][rows - 1](tile);
      });
    });
  }
}

template <typename Product>
void attend(const Args<Product>& args) {
  using Element = typename Product::Element;
  const Scratch scratch = lay_out_scratch<Product>(args.scratch, args.num_rows, args.head_dim);
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    const Element* const qkv = args.qkv + h * args.head_stride;
    transpose_keys(reinterpret_cast<const std::byte*>(qkv + args.head_dim),
                   args.ldqkv * int64_t{sizeof(Element)}, args.num_rows, args.head_dim / Product::kElements,
                   panel_keys<Product>(args.num_rows), scratch.keys);
    Strip<Element> strip;
    strip.values = Product::lay_out_values(args, qkv + 2 * args.head_dim, scratch.values);
    for (int64_t row = args.query_begin; row < args.query_end; row += scratch.strip_rows) {
      strip.q = reinterpret_cast<const std::byte*>(qkv + row * args.ldqkv);
      strip.context = args.context + row * args.ldcontext + h * args.head_dim;
      strip.num_rows = smaller(scratch.strip_rows, args.query_end - row);
      if (fits_registers(args.num_rows)) {
        weigh_strip<Product>(args, scratch, strip);
      } else {
        score_strip<Product>(args, scratch, strip);
        softmax_strip<Product>(args, scratch, strip.num_rows);
      }
      context_strip<Product>(args, scratch, strip);
    }
  }
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
