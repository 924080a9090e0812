#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/linear_impl.h"

namespace elasticlm {

void linear_forward_avx512(const LinearArgs& args) { for_each_tile(args, avx512::kTileKernel); }

}  // namespace elasticlm
