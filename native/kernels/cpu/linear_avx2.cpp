#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/linear_impl.h"

namespace elasticlm {

void linear_forward_avx2(const LinearArgs& args) { for_each_tile(args, avx2::kTileKernel); }

}  // namespace elasticlm
