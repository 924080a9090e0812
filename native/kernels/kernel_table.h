// One entry per op for each instruction set. The only way to reach a kernel from outside kernels/.
#pragma once

#include "core/cpu_features.h"
#include "kernels/activation_norm.h"
#include "kernels/attention.h"
#include "kernels/dot_product.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/linear.h"
#include "kernels/pooling.h"
#include "kernels/quantize.h"

namespace elasticlm {

struct KernelTable {
  Isa isa;
  LinearForward linear_f32_forward;
  LinearForward linear_bf16_forward;
  LinearForward linear_i8_forward;
  AttentionForward attention_forward;
  AttentionScratchFloats attention_scratch_floats;
  AttentionBf16Forward attention_bf16_forward;
  AttentionScratchFloats attention_bf16_scratch_floats;
  LayerNormForward layer_norm_forward;
  EmbeddingForward embedding_forward;
  QuantizeForward quantize_forward;
  PoolingForward pooling_forward;
  ActivationNormAccumulate activation_norm_accumulate;
  DotProductForward dot_product_forward;
  DotProductI8Forward dot_product_i8_forward;

  LinearForward linear_forward(Precision precision) const {
    switch (precision) {
      case Precision::kF32:
        return linear_f32_forward;
      case Precision::kBF16:
        return linear_bf16_forward;
      case Precision::kI8:
        break;
    }
    return linear_i8_forward;
  }
};

// The table of `isa`, which must be supported (see choose_isa). Lives for ever.
const KernelTable& kernel_table(Isa isa);

}  // namespace elasticlm
