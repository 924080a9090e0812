// The objective in f64, in the plainest words: what train/objective.h's losses are. Its gradients are taken
// by differences, so that it shares nothing with the code that it judges.
#pragma once

#include <vector>

#include "train/objective.h"

namespace elasticlm::test {

struct ReferenceInputs {
  const Objective& objective;
  const TokenBatch& batch;
  const ParameterLayout& layout;
  const TeacherOutputs& teacher;
  int64_t adapter_idx = -1;
};

// hidden [T, E]; parameters: the flat run of the layout.
Losses reference_losses(const ReferenceInputs& inputs, const std::vector<double>& hidden,
                        const std::vector<double>& parameters);

}  // namespace elasticlm::test
