#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/softmax_impl.h"
