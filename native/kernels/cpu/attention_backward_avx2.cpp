#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/dot_avx2.h"

#include "kernels/cpu/attention_backward_impl.h"
