#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/column_sums_impl.h"
