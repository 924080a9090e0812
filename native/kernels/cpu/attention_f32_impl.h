// attention_forward over the vector wrapper. Included by attention_<isa>.cpp after the wrapper.

#include "kernels/cpu/attention_f32_product.h"

namespace elasticlm {

int64_t ELASTICLM_KERNEL(attention_scratch_floats)(int64_t num_rows, int64_t head_dim) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  return isa::scratch_floats<isa::F32Product>(num_rows, head_dim);
}

void ELASTICLM_KERNEL(attention_forward)(const AttentionArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::attend<isa::F32Product>(args);
}

}  // namespace elasticlm
