// A forward's records and token ids on the GPU: one buffer, written by one copy for each forward.
//
// Addresses depend on the bounds alone (and on the buffer's base), not on the plan, so that a graph captured
// for some bounds can be replayed with any plan inside them.
#pragma once

#include <cstdint>

#include "exec/cuda/device_memory.h"
#include "exec/encoder.h"
#include "kernels/cuda/records.h"
#include "plan/device_plan.h"

namespace elasticlm::cuda {

// The buckets of a forward: what its launches are sized by.
struct PlanBounds {
  int64_t num_rows = 0;
  int64_t num_sequences = 0;

  // Of any lengths with at most so many rows and sequences.
  int64_t num_attention_tiles() const;
};

// Device addresses.
struct PlanAddresses {
  const PlanHeader* header = nullptr;
  uint32_t* barrier = nullptr;                       // one word, 0 after each upload
  const LinearStep* linear_steps = nullptr;          // as DevicePlan has them
  const LinearGroup* linear_groups = nullptr;        //
  const AttentionStep* attention_steps = nullptr;    //
  const AttentionGroup* attention_groups = nullptr;  //
  const AttentionTile* attention_tiles = nullptr;    //
  const int32_t* row_blocks = nullptr;               //
  const SequenceRecord* sequences = nullptr;         // [B]
  const int32_t* sequence_positions = nullptr;       // [B]
  const int32_t* input_ids = nullptr;                // [T] in the plan's order
  const int32_t* position_ids = nullptr;             // [T]
  const int32_t* token_type_ids = nullptr;           // [T]
  const int32_t* batch_rows = nullptr;               // [T]
};

class PlanBuffer {
 public:
  explicit PlanBuffer(const EncoderConfig& config);

  // Whether there is room for `plan` inside `bounds`.
  bool fits(const DevicePlan& plan, const PlanBounds& bounds) const;
  // Makes room. Addresses given before are void, also when it throws.
  void grow(const DevicePlan& plan, const PlanBounds& bounds);

  // Where what is uploaded for `bounds` stands. The steps stand at the same addresses for all bounds.
  PlanAddresses addresses(const PlanBounds& bounds) const;

  // Enqueues the copy of `plan`, which fits. The copy before it must have ended.
  void upload(const DevicePlan& plan, const PlanBounds& bounds, const Batch& batch, cudaStream_t stream);

  int64_t device_bytes() const { return device_.bytes(); }

 private:
  struct Offsets;
  Offsets offsets(const PlanBounds& bounds) const;

  EncoderConfig config_;
  int64_t num_structures_;  // groups that each step has room for
  DeviceBuffer device_;
  PinnedBuffer staging_;  // as large, once grow() has succeeded
};

}  // namespace elasticlm::cuda
