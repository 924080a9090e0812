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
  const float* hidden() const { return at<float>(forward_.plan.arena.hidden, 0); }  // [rows, E] after run()

 private:
  // A linear step: which weights, from which region to which.
  struct Linear {
    const PackedMatrix& weight;
    const Region& x;
    const Region& y;
    Activation activation = Activation::kNone;
    bool has_residual = false;  // the residual is y itself
  };
  // A chunk of a stage, and the thread that runs it.
  struct Chunk {
    const Stage& stage;
    int64_t chunk_idx;
    Worker& worker;
  };
  // Some heads and queries of a sequence.
  struct AttentionPart {
    int64_t row_begin;  // of the sequence, in the block
    int64_t num_rows;
    Range heads;
    Range queries;
  };

  template <typename Element>
  Element* at(const Region& region, int64_t row) const {
    return reinterpret_cast<Element*>(arena_ + region.row(row));
  }
  RowScale* row_scales(int64_t row) const;  // null but in i8
  const StructureRuns& runs_of(const Segment& segment) const {
    return forward_.runs[static_cast<size_t>(segment.structure_idx)];
  }

  void gather_ids();
  void run_chunk(const Chunk& chunk, const ActivationTaps* taps);
  void run_step(const PlanStep& step, const Chunk& chunk);
  void tap(const PlanStep& step, const ActivationTaps& taps) const;
  Range rows_of(const Chunk& chunk) const;

  void embedding(const Chunk& chunk);
  void layer_norm(const LayerNormWeights& weights, const Chunk& chunk, bool is_last);
  OperandRows hidden_operand(int64_t row) const;
  template <typename Element>
  void attention(int32_t layer, const Chunk& chunk, void (*kernel)(const AttentionArgsOf<Element>&));
  template <typename Visit>
  void for_each_part(int32_t layer, const Chunk& chunk, const Visit& visit) const;
  void quantize(const PlanStep& step, const Chunk& chunk);
  void linear(const PlanStep& step, const Linear& linear, const Chunk& chunk);
  Range panel_blocks(const PlanStep& step, const Chunk& chunk) const;

  const ForwardContext& forward_;
  const PlanBlock& block_;
  const int owner_idx_;
  std::byte* const arena_;
  int32_t* input_ids_;       // [rows]
  int32_t* position_ids_;    // [rows]
  int32_t* token_type_ids_;  // [rows]
};

}  // namespace elasticlm
