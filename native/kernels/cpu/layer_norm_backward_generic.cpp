#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/dot_generic.h"

#include "kernels/cpu/layer_norm_backward_impl.h"
