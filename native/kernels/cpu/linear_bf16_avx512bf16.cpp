#include "kernels/cpu/simd_avx512bf16.h"

#include "kernels/cpu/linear_bf16_impl.h"
