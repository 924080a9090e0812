#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/dot_generic.h"

#include "kernels/cpu/linear_bf16_impl.h"
