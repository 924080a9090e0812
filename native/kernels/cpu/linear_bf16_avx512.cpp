#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/dot_avx512.h"

#include "kernels/cpu/linear_bf16_impl.h"
