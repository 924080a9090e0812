#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/dot_neon.h"

#include "kernels/cpu/training_operand_impl.h"
