// linear_bf16_forward over the vector wrapper. Included by linear_bf16_<isa>.cpp after the wrapper.

#include "kernels/cpu/linear_impl.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct BF16Dot : FloatSums {
  static constexpr int64_t kElements = 2;
  // Where both halves of a word take a register each, weights and a row's word leave fewer for sums.
  static constexpr int kMaxAccumulators =
      kRegisters == 32 || kRegistersPerBF16 == 1 ? kRegisters * 3 / 4 : kRegisters / 2;
  using Row = BF16Words;
  using Weight = BF16Words;

  ELASTICLM_INLINE static Row row(const std::byte* p) { return bf16_words(broadcast_word(load_word(p))); }
  ELASTICLM_INLINE static Weight weight(const std::byte* p) { return bf16_words(load_words(p)); }
  ELASTICLM_INLINE static Sum add(Sum sum, Row x, Weight w) { return dot(sum, x, w); }
};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(linear_bf16_forward)(const LinearArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for_each_tile(args, isa::kTileKernel<isa::BF16Dot>);
}

}  // namespace elasticlm
