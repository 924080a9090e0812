#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/dot_product_impl.h"

namespace elasticlm {

void dot_product_forward_generic(const DotProductArgs& args) { generic::dot_product_forward(args); }

}  // namespace elasticlm
