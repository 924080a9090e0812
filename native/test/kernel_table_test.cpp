#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

TEST_CASE("kernel_table: every supported instruction set offers every op") {
  for (const Isa isa : supported_isas()) {
    const KernelTable& kernels = kernel_table(isa);
    CHECK(kernels.isa == isa, "the table names another instruction set");
    CHECK(kernels.linear_f32_forward != nullptr, isa_name(isa));
    CHECK(kernels.attention_forward != nullptr, isa_name(isa));
    CHECK(kernels.attention_scratch_floats != nullptr, isa_name(isa));
    CHECK(kernels.layer_norm_forward != nullptr, isa_name(isa));
    CHECK(kernels.embedding_forward != nullptr, isa_name(isa));
    CHECK(kernels.pooling_forward != nullptr, isa_name(isa));
    CHECK(kernels.activation_norm_accumulate != nullptr, isa_name(isa));
    CHECK(kernels.dot_product_forward != nullptr, isa_name(isa));
  }
}

TEST_CASE("kernel_table: instruction sets do not share kernels by mistake") {
  const std::vector<Isa> isas = supported_isas();
  for (size_t i = 0; i < isas.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      CHECK(kernel_table(isas[i]).attention_forward != kernel_table(isas[j]).attention_forward,
            std::string(isa_name(isas[i])) + " runs the attention of " + isa_name(isas[j]));
      CHECK(kernel_table(isas[i]).linear_f32_forward != kernel_table(isas[j]).linear_f32_forward,
            std::string(isa_name(isas[i])) + " runs the linear kernel of " + isa_name(isas[j]));
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
