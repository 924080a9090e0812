#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/linear_impl.h"

namespace elasticlm {

void linear_forward_generic(const LinearArgs& args) { for_each_tile(args, generic::kTileKernel); }

}  // namespace elasticlm
