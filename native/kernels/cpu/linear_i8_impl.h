// linear_i8_forward over the vector wrapper. Included by linear_i8_<isa>.cpp after the wrapper.

#include "kernels/cpu/linear_impl.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct I8Dot {
  static constexpr int64_t kElements = 4;
  // Where widened bytes take two registers, weights and a row's word leave fewer for sums.
  static constexpr int kMaxAccumulators =
      kRegisters == 32 || kRegistersPerI8 == 1 ? kRegisters * 3 / 4 : kRegisters / 2;
  static constexpr bool kHasScales = true;
  using Sum = Sums;
  using Row = S8Words;
  using Weight = U8Words;

  // Takes away the 128 that was added to every weight.
  ELASTICLM_INLINE static Sum start(const RowScale& scale) { return broadcast_sum(-128 * scale.sum); }
  ELASTICLM_INLINE static Row row(const std::byte* p) { return s8_words(broadcast_word(load_word(p))); }
  ELASTICLM_INLINE static Weight weight(const std::byte* p) { return u8_words(load_words(p)); }
  ELASTICLM_INLINE static Sum add(Sum sum, Row x, Weight w) { return dot(sum, x, w); }
  ELASTICLM_INLINE static Sum load(const float* slots) {
    return load_sums(reinterpret_cast<const int32_t*>(slots));
  }
  ELASTICLM_INLINE static void store(float* slots, Sum sum) {
    elasticlm::ELASTICLM_ISA_NAMESPACE::store(reinterpret_cast<int32_t*>(slots), sum);
  }
  struct Factors {
    Vec scale;
    Vec offset;
  };
  ELASTICLM_INLINE static Factors factors(const RowScale& row) {
    return {broadcast(row.scale), broadcast(row.offset)};
  }
  ELASTICLM_INLINE static Vec value(Sum sum, const Factors& row, Vec column_scales, Vec column_sums,
                                    Vec bias) {
    return fma(to_floats(sum), row.scale * column_scales, fma(row.offset, column_sums, bias));
  }
};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(linear_i8_forward)(const LinearArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for_each_tile(args, isa::kTileKernel<isa::I8Dot>);
}

}  // namespace elasticlm
