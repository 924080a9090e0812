#include "kernels/cpu/simd_avx512bf16.h"

#include "kernels/cpu/embedding_impl.h"
