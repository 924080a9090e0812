// attention_bf16_forward over the vector wrapper. Included by attention_bf16_<isa>.cpp after the wrapper.

#include "kernels/cpu/attention_impl.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct BF16Product {
  using Element = BF16;
  using Operand = BF16Words;
  static constexpr int64_t kElements = 2;
  // Where both halves of a word take a register each, operands leave fewer for sums.
  static constexpr int kTileVecs = kRegisters == 32 || kRegistersPerBF16 == 1 ? 3 : 2;
  static constexpr float kExponentUnit = kExp2Step;

  ELASTICLM_INLINE static BF16Words row(const std::byte* p) {
    return bf16_words(broadcast_word(load_word(p)));
  }
  ELASTICLM_INLINE static BF16Words vector(const std::byte* p) { return bf16_words(load_words(p)); }
  ELASTICLM_INLINE static BF16Words first_words(const std::byte* p, int64_t n) {
    return bf16_words(load_first_words(p, n));
  }
  ELASTICLM_INLINE static Vec add(Vec sum, BF16Words x, BF16Words w) { return dot(sum, x, w); }
  ELASTICLM_INLINE static void store(BF16* p, Vec a) { store_bf16(p, a); }
  ELASTICLM_INLINE static void store_first(BF16* p, Vec a, int64_t n) { store_first_bf16(p, a, n); }

  ELASTICLM_INLINE static int64_t ld_values(const AttentionBf16Args& args) {
    return whole_vecs(args.head_dim) * kWordBytes;
  }
  // v: [S, D], ldqkv -> words [S / 2 rounded up, D rounded up to kLanes] of two neighbouring keys, zeros in
  // place of a key or column that there is not.
  ELASTICLM_INLINE static const std::byte* lay_out_values(const AttentionBf16Args& args, const BF16* v,
                                                          std::byte* values) {
    const int64_t stride = ld_values(args);
    std::byte* row = values;
    for (int64_t key = 0; key < args.num_rows; key += 2, row += stride) {
      const BF16* first = v + key * args.ldqkv;
      const bool has_second = key + 1 < args.num_rows;
      for (int64_t column = 0; column < args.head_dim; column += 2 * kLanes) {
        const int64_t columns = smaller(2 * kLanes, args.head_dim - column);
        const WordsPair words =
            interleave_first(first + column, has_second ? first + args.ldqkv + column : nullptr, columns);
        store_words(row + column * kWordBytes, words.low);
        if (columns > kLanes) store_words(row + (column + kLanes) * kWordBytes, words.high);
      }
    }
    return values;
  }

  // 2^(exponents / kExp2Step) of kRows rows and kVecs neighbouring vectors, rounded to bf16 and padded to
  // whole words. Sums what is multiplied later: errors that weights have in common cancel.
  template <int kRows, int kVecs>
  ELASTICLM_INLINE static void weigh(Vec (&exponents)[kRows * kVecs], float* weights, int64_t ld,
                                     Vec (&sum)[kRows]) {
    const BF16Words ones = bf16_words(broadcast_word(0x3f803f80u));
    exp2_steps(exponents);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kVecs; c += 2) {
        const Words words =
            round_to_words(exponents[r * kVecs + c],
                           c + 1 < kVecs ? exponents[r * kVecs + smaller(c + 1, kVecs - 1)] : zero());
        store_words(reinterpret_cast<std::byte*>(weights + r * ld + c * kLanes / 2), words);
        sum[r] = dot(sum[r], bf16_words(words), ones);
      }
    }
  }
};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

int64_t ELASTICLM_KERNEL(attention_bf16_scratch_floats)(int64_t num_rows, int64_t head_dim) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  return isa::scratch_floats<isa::BF16Product>(num_rows, head_dim);
}

void ELASTICLM_KERNEL(attention_bf16_forward)(const AttentionBf16Args& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::attend<isa::BF16Product>(args);
}

}  // namespace elasticlm
