#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/dot_neon.h"

#include "kernels/cpu/linear_bf16_impl.h"
