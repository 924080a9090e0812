// linear_f32_forward over the vector wrapper. Included by linear_f32_<isa>.cpp after the wrapper.

#include "kernels/cpu/linear_impl.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct F32Dot : FloatSums {
  static constexpr int64_t kElements = 1;
  static constexpr int kMaxAccumulators = kRegisters * 3 / 4;
  using Row = Vec;
  using Weight = Vec;

  ELASTICLM_INLINE static Row row(const std::byte* p) {
    return broadcast(*reinterpret_cast<const float*>(p));
  }
  ELASTICLM_INLINE static Weight weight(const std::byte* p) {
    return elasticlm::ELASTICLM_ISA_NAMESPACE::load(reinterpret_cast<const float*>(p));
  }
  ELASTICLM_INLINE static Sum add(Sum sum, Row x, Weight w) { return fma(x, w, sum); }
};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(linear_f32_forward)(const LinearArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for_each_tile(args, isa::kTileKernel<isa::F32Dot>);
}

}  // namespace elasticlm
