#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/dot_generic.h"

#include "kernels/cpu/attention_backward_impl.h"
