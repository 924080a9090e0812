#include "kernels/cpu/simd_generic.h"

#include "kernels/cpu/dot_generic.h"

#include "kernels/cpu/training_operand_impl.h"
