#include "kernels/training_kernels.h"

#include "core/status.h"

namespace elasticlm {

// Named and placed like the kernels of kernel_table.cpp. None of them multiplies bf16, so avx512bf16 has
// those of avx512.
#define ELASTICLM_DECLARE_TRAINING_KERNELS(isa)                                        \
  void layer_norm_backward_##isa(const LayerNormBackwardArgs& args);                   \
  void layer_norm_parameter_backward_##isa(const LayerNormParameterArgs& args);        \
  void gelu_forward_##isa(const GeluArgs& args);                                       \
  void gelu_backward_##isa(const GeluBackwardArgs& args);                              \
  void attention_backward_##isa(const AttentionBackwardArgs& args);                    \
  int64_t attention_backward_scratch_floats_##isa(int64_t num_rows, int64_t head_dim); \
  void round_rows_##isa(const RoundRowsArgs& args);                                    \
  void transpose_rows_##isa(const TransposeRowsArgs& args);                            \
  void pack_depth_rows_##isa(const PackArgs& args);                                    \
  void pack_column_rows_##isa(const PackArgs& args);                                   \
  void column_sums_##isa(const ColumnSumsArgs& args);                                  \
  void column_dots_##isa(const ColumnDotsArgs& args);                                  \
  void embedding_sum_forward_##isa(const EmbeddingSumArgs& args);                      \
  void embedding_backward_##isa(const EmbeddingBackwardArgs& args);                    \
  void softmax_forward_##isa(const SoftmaxArgs& args);                                 \
  void softmax_difference_##isa(const SoftmaxDifferenceArgs& args);

#define ELASTICLM_TRAINING_KERNELS(isa_value, suffix)                                               \
  TrainingKernels {                                                                                 \
    .isa = isa_value, .layer_norm_backward = layer_norm_backward_##suffix,                          \
    .layer_norm_parameter_backward = layer_norm_parameter_backward_##suffix,                        \
    .gelu_forward = gelu_forward_##suffix, .gelu_backward = gelu_backward_##suffix,                 \
    .attention_backward = attention_backward_##suffix,                                              \
    .attention_backward_scratch_floats = attention_backward_scratch_floats_##suffix,                \
    .round_rows = round_rows_##suffix, .transpose_rows = transpose_rows_##suffix,                   \
    .pack_depth_rows = pack_depth_rows_##suffix, .pack_column_rows = pack_column_rows_##suffix,     \
    .column_sums = column_sums_##suffix, .column_dots = column_dots_##suffix,                       \
    .embedding_sum_forward = embedding_sum_forward_##suffix,                                        \
    .embedding_backward = embedding_backward_##suffix, .softmax_forward = softmax_forward_##suffix, \
    .softmax_difference = softmax_difference_##suffix,                                              \
  }

ELASTICLM_DECLARE_TRAINING_KERNELS(ref)
ELASTICLM_DECLARE_TRAINING_KERNELS(generic)
#if defined(__aarch64__)
ELASTICLM_DECLARE_TRAINING_KERNELS(neon)
#endif
#if defined(__x86_64__)
ELASTICLM_DECLARE_TRAINING_KERNELS(avx2)
ELASTICLM_DECLARE_TRAINING_KERNELS(avx512)
#endif

const TrainingKernels& training_kernels(Isa isa) {
  static constexpr TrainingKernels kRef = ELASTICLM_TRAINING_KERNELS(Isa::kRef, ref);
  static constexpr TrainingKernels kGeneric = ELASTICLM_TRAINING_KERNELS(Isa::kGeneric, generic);
#if defined(__aarch64__)
  static constexpr TrainingKernels kNeon = ELASTICLM_TRAINING_KERNELS(Isa::kNeon, neon);
#endif
#if defined(__x86_64__)
  static constexpr TrainingKernels kAvx2 = ELASTICLM_TRAINING_KERNELS(Isa::kAvx2, avx2);
  static constexpr TrainingKernels kAvx512 = ELASTICLM_TRAINING_KERNELS(Isa::kAvx512, avx512);
  static constexpr TrainingKernels kAvx512Bf16 = ELASTICLM_TRAINING_KERNELS(Isa::kAvx512Bf16, avx512);
#endif
  switch (isa) {
    case Isa::kRef:
      return kRef;
    case Isa::kGeneric:
      return kGeneric;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return kAvx2;
    case Isa::kAvx512:
      return kAvx512;
    case Isa::kAvx512Bf16:
      return kAvx512Bf16;
#endif
#if defined(__aarch64__)
    case Isa::kNeon:
      return kNeon;
#endif
    default:
      break;
  }
  fail(ErrorCode::kIsaUnsupported, {.expected = "an instruction set of this build",
                                    .subject = "training_kernels",
                                    .received = isa_name(isa),
                                    .remedy = "choose_isa names a supported one"});
}

}  // namespace elasticlm
