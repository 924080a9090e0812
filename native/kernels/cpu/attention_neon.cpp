#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/dot_neon.h"

#include "kernels/cpu/attention_f32_impl.h"
