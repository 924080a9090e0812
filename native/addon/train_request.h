// What a training call reads, from JavaScript's objects to records that the call owns.
#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

#include "addon/convert.h"
#include "train/adamw.h"
#include "train/session.h"

namespace elasticlm {

// One micro-batch with its targets, and the objective whose terms point at them.
class TrainRequest {
 public:
  explicit TrainRequest(const Napi::Object& spec);
  TrainRequest(const TrainRequest&) = delete;
  TrainRequest& operator=(const TrainRequest&) = delete;

  TokenBatch batch() const { return {ids_.input_ids, ids_.token_type_ids, ids_.cu_seqlens}; }
  const Objective& objective() const { return objective_; }

 private:
  PackedIds ids_;
  std::vector<int32_t> labels_;
  std::vector<float> targets_;
  std::vector<int32_t> cu_lists_;
  std::vector<float> relevance_;
  std::vector<int32_t> mlm_labels_;
  Objective objective_;
};

// Which SubLMs take part in a step, and where their losses go.
struct StepRequest {
  TrainRequest data;
  std::vector<int32_t> structure_idx;
  std::vector<double> weights;
  std::vector<int32_t> num_sequences;  // empty: all
  StepMode mode = StepMode::kTraverse;
  OutputArray<double> losses;  // [n, kNumLosses]

  explicit StepRequest(const Napi::Object& spec);
};

// Numbers of a Losses.
inline constexpr int64_t kNumLosses = 10;
// In the order of its fields.
void copy_losses(const std::vector<Losses>& losses, double* out);

SessionSpec to_session_spec(const Napi::Object& spec);
AdamWOptions to_adamw_options(const Napi::Object& spec);
StoredDtype to_stored_dtype(const Napi::Value& value);

}  // namespace elasticlm
