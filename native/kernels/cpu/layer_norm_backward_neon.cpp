#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/dot_neon.h"

#include "kernels/cpu/layer_norm_backward_impl.h"
