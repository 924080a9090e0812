#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/dot_avx2.h"

#include "kernels/cpu/linear_i8_impl.h"
