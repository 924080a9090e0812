#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/layer_norm_impl.h"
