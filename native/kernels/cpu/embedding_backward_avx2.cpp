#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/embedding_backward_impl.h"
