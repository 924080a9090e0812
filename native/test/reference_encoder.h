// A BERT forward written from the definition alone, one sequence at a time and at full size: what a SubLM
// leaves out is multiplied by 0. Shares no code with kernels/, plan/ and exec/. In f64, over the weights as
// they are stored, it is the truth; the naive result in the weights' own precision has a distance from the
// truth that sets the tolerance of tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/pooling.h"
#include "model/structure.h"
#include "model/weights.h"

namespace elasticlm::test {

enum class Arithmetic {
  kF64,
  // f32, and where the weights are bf16 or i8, q, k, v, softmax weights, context and ffn rounded to bf16 and
  // what linear layers read rounded to the weights' precision.
  kNaive,
};

struct ReferenceHidden {
  std::vector<double> hidden;          // [S, E]
  std::vector<double> context_norms;   // [L, H]: sum over tokens of the norm of each head's context
  std::vector<double> neuron_outputs;  // [L, F]: sum over tokens of the absolute activation after GELU
};

ReferenceHidden reference_hidden(const ModelWeights& weights, const Structure& structure,
                                 std::span<const int32_t> input_ids, std::span<const int32_t> token_type_ids,
                                 Arithmetic arithmetic);

// [E] from hidden states [S, E].
std::vector<double> reference_pooled(const ModelWeights& weights, const std::vector<double>& hidden,
                                     Pooling pooling, bool normalize, Arithmetic arithmetic);

// [E] from hidden states [S, E].
std::vector<double> reference_pooler(const ModelWeights& weights, const std::vector<double>& hidden,
                                     Arithmetic arithmetic);

// [num_labels] from the pooler's output.
std::vector<double> reference_logits(const ModelWeights& weights, const std::vector<double>& pooler,
                                     Arithmetic arithmetic);

}  // namespace elasticlm::test
