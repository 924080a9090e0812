#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/embedding_backward_impl.h"
