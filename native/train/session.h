// A training run: student, frozen teacher, gradients and moments, and the steps over them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/cpu_features.h"
#include "core/precision.h"
#include "model/config.h"
#include "model/structure.h"
#include "train/adamw.h"
#include "train/encoder_pass.h"
#include "train/objective.h"

namespace elasticlm {

struct SessionSpec {
  EncoderConfig config;
  std::vector<std::string> paths;  // the student's safetensors
  HeadShapes heads;   // what the student trains above its encoder; other heads of the checkpoint, but for
                      // adapters, are added to it
  uint64_t seed = 1;  // of heads that the checkpoint lacks
  std::vector<Structure> structures;  // by falling size, prefixes
  std::vector<int32_t> adapter_idx;   // of each structure among heads.num_adapters, -1 for none; empty: none
  std::vector<std::string> teacher_paths;  // empty: no teacher; the same config otherwise
  Isa isa = Isa::kRef;
  Precision precision = Precision::kF32;
  Saving saving = Saving::kAll;
};

enum class StepMode {
  kTraverse,  // one SubLM after the other, as in the paper
  kMixed,     // all that see the same sequences in one pass
};

struct StepArgs {
  const TokenBatch& batch;
  const Objective& objective;
  std::span<const int32_t> structure_idx;  // [n] which SubLMs, rising
  std::span<const double> weights;         // [n] of each SubLM
  StepMode mode = StepMode::kTraverse;
  std::span<const int32_t> num_sequences = {};  // [n] of the batch's first ones that each sees; empty: all
};

class TrainSession {
 public:
  explicit TrainSession(const SessionSpec& spec, const TrainThreads& threads);
  ~TrainSession();

  // Teacher once, then forward, losses and backward of each SubLM; adds to the gradients. Several steps may
  // come before an update. Throws kBatchInvalid, kConfigInvalid, kStructureInvalid, kCallAborted (the
  // gradients are then cleared).
  std::vector<Losses> step(const StepArgs& args, const TrainThreads& threads);
  // Mask gradients of the full structure over one batch: |gradient| is the caller's to take. Parameters and
  // gradients stay as they are.
  MaskGradients mask_gradients(const TokenBatch& batch, const Objective& objective,
                               const TrainThreads& threads);
  // Returns the gradients' global norm; not finite: nothing was changed.
  double update(const AdamWOptions& options, const TrainThreads& threads);

  const ParameterSet& parameters() const;
  const ParameterSet& gradients() const;
  int64_t num_updates() const;
  int64_t bytes() const;  // parameters, moments, packed weights and activations held now

  // Parameters as a checkpoint (train/parameters.h).
  void write_checkpoint(StoredDtype dtype, const std::string& path) const;
  // Parameters, moments and the number of updates, with `metadata` (the caller's own words: where it stands
  // in its data), as safetensors in f32. Atomic. Reading it restores every bit. read_state throws
  // kCheckpointInvalid where names or shapes are not this session's, and returns the metadata.
  void write_state(const std::string& metadata, const std::string& path) const;
  std::string read_state(const std::string& path, const TrainThreads& threads);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace elasticlm
