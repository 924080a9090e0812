#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/attention_impl.h"
