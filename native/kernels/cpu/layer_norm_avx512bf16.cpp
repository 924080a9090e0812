#include "kernels/cpu/simd_avx512bf16.h"

#include "kernels/cpu/layer_norm_impl.h"
