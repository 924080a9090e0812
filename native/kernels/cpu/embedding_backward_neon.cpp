#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/embedding_backward_impl.h"
