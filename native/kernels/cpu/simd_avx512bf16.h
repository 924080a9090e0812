// AVX-512 with its dot product of bf16: the wrapper of simd_avx512.h for kernels that have two versions. Only
// for files compiled with the avx512bf16 flags.
#pragma once

#define ELASTICLM_NATIVE_BF16
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/dot_avx512.h"

#undef ELASTICLM_KERNEL
#define ELASTICLM_KERNEL(name) name##_avx512bf16
