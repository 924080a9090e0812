#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/pooling_impl.h"
