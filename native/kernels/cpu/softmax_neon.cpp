#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/softmax_impl.h"
