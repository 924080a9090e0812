#include "kernels/kernel_table.h"

#include "core/status.h"

namespace elasticlm {

// Every kernel of one instruction set is a function named <op>_<isa>, defined in the file of that name. Those
// that multiply bf16 have a version of their own where the processor can: avx512bf16 beside avx512.
#define ELASTICLM_DECLARE_KERNELS(isa)                                             \
  void linear_f32_forward_##isa(const LinearArgs& args);                           \
  void linear_bf16_forward_##isa(const LinearArgs& args);                          \
  void linear_i8_forward_##isa(const LinearArgs& args);                            \
  void attention_forward_##isa(const AttentionArgs& args);                         \
  int64_t attention_scratch_floats_##isa(int64_t num_rows, int64_t head_dim);      \
  void attention_bf16_forward_##isa(const AttentionBf16Args& args);                \
  int64_t attention_bf16_scratch_floats_##isa(int64_t num_rows, int64_t head_dim); \
  void layer_norm_forward_##isa(const LayerNormArgs& args);                        \
  void embedding_forward_##isa(const EmbeddingArgs& args);                         \
  void pooling_forward_##isa(const PoolingArgs& args);                             \
  void quantize_forward_##isa(const QuantizeArgs& args);                           \
  void dot_product_forward_##isa(const DotProductArgs& args);                      \
  void dot_product_i8_forward_##isa(const DotProductI8Args& args);

// activation_norm_accumulate has one scalar version: it runs in calibration only, beside a forward that costs
// 30 times as much.
#define ELASTICLM_KERNEL_TABLE(isa_value, suffix, bf16_suffix)                                           \
  KernelTable {                                                                                          \
    .isa = isa_value, .linear_f32_forward = linear_f32_forward_##suffix,                                 \
    .linear_bf16_forward = linear_bf16_forward_##bf16_suffix,                                            \
    .linear_i8_forward = linear_i8_forward_##suffix, .attention_forward = attention_forward_##suffix,    \
    .attention_scratch_floats = attention_scratch_floats_##suffix,                                       \
    .attention_bf16_forward = attention_bf16_forward_##bf16_suffix,                                      \
    .attention_bf16_scratch_floats = attention_bf16_scratch_floats_##bf16_suffix,                        \
    .layer_norm_forward = layer_norm_forward_##bf16_suffix,                                              \
    .embedding_forward = embedding_forward_##bf16_suffix, .quantize_forward = quantize_forward_##suffix, \
    .pooling_forward = pooling_forward_##suffix,                                                         \
    .activation_norm_accumulate = activation_norm_accumulate_ref,                                        \
    .dot_product_forward = dot_product_forward_##suffix,                                                 \
    .dot_product_i8_forward = dot_product_i8_forward_##suffix,                                           \
  }

void activation_norm_accumulate_ref(const ActivationNormArgs& args);
ELASTICLM_DECLARE_KERNELS(ref)
ELASTICLM_DECLARE_KERNELS(generic)
#if defined(__aarch64__)
ELASTICLM_DECLARE_KERNELS(neon)
#endif
#if defined(__x86_64__)
ELASTICLM_DECLARE_KERNELS(avx2)
ELASTICLM_DECLARE_KERNELS(avx512)
void linear_bf16_forward_avx512bf16(const LinearArgs& args);
void attention_bf16_forward_avx512bf16(const AttentionBf16Args& args);
int64_t attention_bf16_scratch_floats_avx512bf16(int64_t num_rows, int64_t head_dim);
void layer_norm_forward_avx512bf16(const LayerNormArgs& args);
void embedding_forward_avx512bf16(const EmbeddingArgs& args);
#endif

const KernelTable& kernel_table(Isa isa) {
  static constexpr KernelTable kRefTable = ELASTICLM_KERNEL_TABLE(Isa::kRef, ref, ref);
  static constexpr KernelTable kGenericTable = ELASTICLM_KERNEL_TABLE(Isa::kGeneric, generic, generic);
#if defined(__aarch64__)
  static constexpr KernelTable kNeonTable = ELASTICLM_KERNEL_TABLE(Isa::kNeon, neon, neon);
#endif
#if defined(__x86_64__)
  static constexpr KernelTable kAvx2Table = ELASTICLM_KERNEL_TABLE(Isa::kAvx2, avx2, avx2);
  static constexpr KernelTable kAvx512Table = ELASTICLM_KERNEL_TABLE(Isa::kAvx512, avx512, avx512);
  static constexpr KernelTable kAvx512Bf16Table =
      ELASTICLM_KERNEL_TABLE(Isa::kAvx512Bf16, avx512, avx512bf16);
#endif
  switch (isa) {
    case Isa::kRef:
      return kRefTable;
    case Isa::kGeneric:
      return kGenericTable;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return kAvx2Table;
    case Isa::kAvx512:
      return kAvx512Table;
    case Isa::kAvx512Bf16:
      return kAvx512Bf16Table;
#endif
#if defined(__aarch64__)
    case Isa::kNeon:
      return kNeonTable;
#endif
    default:
      break;
  }
  fail(ErrorCode::kIsaUnsupported, {.expected = "an instruction set of this build",
                                    .subject = "kernel_table",
                                    .received = isa_name(isa),
                                    .remedy = "choose_isa names a supported one"});
}

}  // namespace elasticlm
