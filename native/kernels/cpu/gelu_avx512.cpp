#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/dot_avx512.h"

#include "kernels/cpu/gelu_impl.h"
