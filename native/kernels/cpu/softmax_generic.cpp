#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/softmax_impl.h"
