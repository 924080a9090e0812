// The first sequences of a micro-batch with their objective and what the teacher says of them: what a SubLM
// sees that is trained on part of the data.
#pragma once

#include <cstdint>

#include "train/objective.h"
#include "train/train_batch.h"

namespace elasticlm {

struct BatchPart {
  TokenBatch batch;  // of the whole one's memory
  Objective objective;
  TeacherOutputs teacher;  // empty where the whole one's is
};

// `count` of the batch's sequences, at least 1. The objective must not have groups.
BatchPart first_sequences(const TokenBatch& batch, const Objective& objective, const TeacherOutputs* teacher,
                          int64_t count);

}  // namespace elasticlm
