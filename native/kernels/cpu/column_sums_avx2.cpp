#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/column_sums_impl.h"
