#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/column_sums_impl.h"
