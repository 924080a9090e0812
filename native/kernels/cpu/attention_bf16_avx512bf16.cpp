#include "kernels/cpu/simd_avx512bf16.h"

#include "kernels/cpu/attention_bf16_impl.h"
