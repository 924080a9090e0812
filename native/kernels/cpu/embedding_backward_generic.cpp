#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/embedding_backward_impl.h"
