#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/attention_impl.h"
