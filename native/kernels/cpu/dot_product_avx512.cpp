#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/dot_product_impl.h"

namespace elasticlm {

void dot_product_forward_avx512(const DotProductArgs& args) { avx512::dot_product_forward(args); }

}  // namespace elasticlm
