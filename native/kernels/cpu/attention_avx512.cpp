#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/dot_avx512.h"

#include "kernels/cpu/attention_f32_impl.h"
