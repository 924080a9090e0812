#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/pooling_impl.h"
