#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/pooling_impl.h"
