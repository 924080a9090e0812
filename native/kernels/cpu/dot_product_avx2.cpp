#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/dot_product_impl.h"

namespace elasticlm {

void dot_product_forward_avx2(const DotProductArgs& args) { avx2::dot_product_forward(args); }

}  // namespace elasticlm
