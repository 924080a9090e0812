#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/linear_impl.h"
