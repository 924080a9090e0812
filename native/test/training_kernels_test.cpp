#include "kernels/training_kernels.h"

#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

TEST_CASE("training_kernels: every supported instruction set offers every op") {
  for (const Isa isa : supported_isas()) {
    const TrainingKernels& kernels = training_kernels(isa);
    CHECK(kernels.isa == isa, "the table names another instruction set");
    CHECK(kernels.layer_norm_backward != nullptr, isa_name(isa));
    CHECK(kernels.layer_norm_parameter_backward != nullptr, isa_name(isa));
    CHECK(kernels.gelu_forward != nullptr, isa_name(isa));
    CHECK(kernels.gelu_backward != nullptr, isa_name(isa));
    CHECK(kernels.attention_backward != nullptr, isa_name(isa));
    CHECK(kernels.attention_backward_scratch_floats != nullptr, isa_name(isa));
    CHECK(kernels.round_rows != nullptr, isa_name(isa));
    CHECK(kernels.transpose_rows != nullptr, isa_name(isa));
    CHECK(kernels.pack_depth_rows != nullptr, isa_name(isa));
    CHECK(kernels.pack_column_rows != nullptr, isa_name(isa));
    CHECK(kernels.column_sums != nullptr, isa_name(isa));
    CHECK(kernels.column_dots != nullptr, isa_name(isa));
    CHECK(kernels.embedding_sum_forward != nullptr, isa_name(isa));
    CHECK(kernels.embedding_backward != nullptr, isa_name(isa));
  }
}

TEST_CASE("training_kernels: instruction sets do not share kernels by mistake") {
  const std::vector<Isa> isas = supported_isas();
  for (size_t i = 0; i < isas.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      // avx512bf16 is avx512 in all of them.
      if (effective_isa(isas[i], Precision::kF32) == isas[j]) continue;
      const TrainingKernels& a = training_kernels(isas[i]);
      const TrainingKernels& b = training_kernels(isas[j]);
      const std::string pair = std::string(isa_name(isas[i])) + " and " + isa_name(isas[j]);
      CHECK(a.attention_backward != b.attention_backward, pair + " share attention_backward");
      CHECK(a.gelu_backward != b.gelu_backward, pair + " share gelu_backward");
      CHECK(a.layer_norm_backward != b.layer_norm_backward, pair + " share layer_norm_backward");
      CHECK(a.transpose_rows != b.transpose_rows, pair + " share transpose_rows");
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
