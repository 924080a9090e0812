#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

TEST_CASE("kernel_table: every supported instruction set offers every op") {
  for (const Isa isa : supported_isas()) {
    const KernelTable& kernels = kernel_table(isa);
    CHECK(kernels.isa == isa, "the table names another instruction set");
    CHECK(kernels.linear_f32_forward != nullptr, isa_name(isa));
    CHECK(kernels.linear_bf16_forward != nullptr, isa_name(isa));
    CHECK(kernels.linear_i8_forward != nullptr, isa_name(isa));
    CHECK(kernels.attention_forward != nullptr, isa_name(isa));
    CHECK(kernels.attention_scratch_floats != nullptr, isa_name(isa));
    CHECK(kernels.attention_bf16_forward != nullptr, isa_name(isa));
    CHECK(kernels.attention_bf16_scratch_floats != nullptr, isa_name(isa));
    CHECK(kernels.layer_norm_forward != nullptr, isa_name(isa));
    CHECK(kernels.embedding_forward != nullptr, isa_name(isa));
    CHECK(kernels.quantize_forward != nullptr, isa_name(isa));
    CHECK(kernels.pooling_forward != nullptr, isa_name(isa));
    CHECK(kernels.activation_norm_accumulate != nullptr, isa_name(isa));
    CHECK(kernels.dot_product_forward != nullptr, isa_name(isa));
  }
}

TEST_CASE("kernel_table: instruction sets do not share kernels by mistake") {
  const std::vector<Isa> isas = supported_isas();
  for (size_t i = 0; i < isas.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const KernelTable& a = kernel_table(isas[i]);
      const KernelTable& b = kernel_table(isas[j]);
      const std::string pair = std::string(isa_name(isas[i])) + " and " + isa_name(isas[j]);
      CHECK(a.attention_bf16_forward != b.attention_bf16_forward, pair + " share attention in bf16");
      CHECK(a.linear_bf16_forward != b.linear_bf16_forward, pair + " share the linear kernel in bf16");
      // avx512bf16 is avx512 but for what multiplies bf16.
      if (effective_isa(isas[i], Precision::kF32) == isas[j]) continue;
      CHECK(a.attention_forward != b.attention_forward, pair + " share attention");
      CHECK(a.linear_f32_forward != b.linear_f32_forward, pair + " share the linear kernel in f32");
      CHECK(a.linear_i8_forward != b.linear_i8_forward, pair + " share the linear kernel in i8");
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
