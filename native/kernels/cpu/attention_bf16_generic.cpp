#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/dot_generic.h"

#include "kernels/cpu/attention_bf16_impl.h"
