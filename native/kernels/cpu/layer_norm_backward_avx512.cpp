#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/dot_avx512.h"

#include "kernels/cpu/layer_norm_backward_impl.h"
