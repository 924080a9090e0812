// Takes one block of a plan through its steps.
#pragma once

#include <span>
#include <vector>

#include "core/arena.h"
#include "exec/encoder.h"
#include "exec/structure_runs.h"
#include "kernels/kernel_table.h"
#include "model/weights.h"
#include "plan/plan.h"

namespace elasticlm {

// What one thread of a pool owns. Vectors keep their room between steps, so that a step allocates nothing.
struct Worker {
  Arena block;      // of the block that this thread began
  Arena attention;  // scratch of one attention call
  Arena head;       // rows of the pooler and the classifier
  std::vector<ColumnRun> columns;
  std::vector<RowGroup> groups;

  int64_t bytes() const { return block.bytes() + attention.bytes() + head.bytes(); }
};

// One forward, shared by all its blocks.
struct ForwardContext {
  const ModelWeights& weights;
  const KernelTable& kernels;
  const Batch& batch;
  const Plan& plan;
  std::span<const StructureRuns> runs;  // by structure; empty for structures that no sequence has
  std::span<Worker> workers;            // by worker_idx
  const std::atomic<bool>* aborted;
  int64_t attention_floats;  // scratch of one attention call
};

// Where a block's activations are summed up, for calibration.
struct ActivationTaps {
  double* heads = nullptr;    // [L, H]
  double* neurons = nullptr;  // [L, F]
};

class BlockRun {
 public:
  // Uses the block arena of worker `owner_idx` until it is destroyed.
  BlockRun(const ForwardContext& forward, const PlanBlock& block, int owner_idx);

  // Runs all steps; from the thread of the owner. Throws kCallAborted between two steps.
  void run(ThreadPool& pool, const ActivationTaps* taps);

  const PlanBlock& block() const { return block_; }
  const float* hidden() const { return hidden_; }  // [rows, ld_hidden] after run()

 private:
  // A linear step: which weights, from which region to which.
  struct Linear {
    const PackedMatrix& weight;
    Activation activation = Activation::kNone;
    const float* x = nullptr;
    int64_t ldx = 0;
    float* y = nullptr;
    int64_t ldy = 0;
    bool has_residual = false;  // the residual is y itself
  };
  // A chunk of a stage, and the thread that runs it.
  struct Chunk {
    const Stage& stage;
    int64_t chunk_idx;
    Worker& worker;
  };

  void gather_ids();
  void run_chunk(const Chunk& chunk, const ActivationTaps* taps);
  void run_step(const PlanStep& step, const Chunk& chunk);
  void tap(const PlanStep& step, const ActivationTaps& taps) const;
  Range rows_of(const Chunk& chunk) const;

  void embedding(const Chunk& chunk);
  void layer_norm(const LayerNormWeights& weights, const Chunk& chunk);
  void attention(int32_t layer, const Chunk& chunk);
  void linear(const PlanStep& step, const Linear& linear, const Chunk& chunk);
  Range panel_blocks(const PlanStep& step, const Chunk& chunk) const;

  const ForwardContext& forward_;
  const PlanBlock& block_;
  const int owner_idx_;
  int32_t* input_ids_;       // [rows]
  int32_t* position_ids_;    // [rows]
  int32_t* token_type_ids_;  // [rows]
  float* hidden_;            // [rows, ld_hidden]
  float* qkv_;               // [kept heads][rows, qkv_head_columns]
  float* context_;           // [rows, ld_hidden]
  float* ffn_;               // [rows, ld_ffn]
};

}  // namespace elasticlm
