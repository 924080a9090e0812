#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/column_sums_impl.h"
