// What training needs beside kernels/kernel_table.h: one entry per op for each instruction set.
#pragma once

#include "core/cpu_features.h"
#include "kernels/attention_backward.h"
#include "kernels/column_sums.h"
#include "kernels/embedding_backward.h"
#include "kernels/gelu.h"
#include "kernels/layer_norm_backward.h"
#include "kernels/softmax.h"
#include "kernels/training_operand.h"

namespace elasticlm {

struct TrainingKernels {
  Isa isa;
  LayerNormBackward layer_norm_backward;
  LayerNormParameterBackward layer_norm_parameter_backward;
  GeluForward gelu_forward;
  GeluBackward gelu_backward;
  AttentionBackward attention_backward;
  AttentionBackwardScratchFloats attention_backward_scratch_floats;
  RoundRows round_rows;
  TransposeRows transpose_rows;
  PackDepthRows pack_depth_rows;
  PackColumnRows pack_column_rows;
  ColumnSums column_sums;
  ColumnDots column_dots;
  EmbeddingSumForward embedding_sum_forward;
  EmbeddingBackward embedding_backward;
  SoftmaxForward softmax_forward;
  SoftmaxDifference softmax_difference;
};

// The kernels of `isa`, which must be supported (see choose_isa). Live for ever.
const TrainingKernels& training_kernels(Isa isa);

}  // namespace elasticlm
