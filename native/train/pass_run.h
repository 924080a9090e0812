// Inside of EncoderPass: the steps of forward and backward.
//
// Between attention and the next attention all is the work of single rows: a chunk of rows goes through all
// steps of it on one thread, while its activations stay in that core's cache. Attention is split by sequences
// and heads, gradients of weights by what is kept (rows of ParameterLayout's matrices), sums over the batch
// by columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "core/arena.h"
#include "kernels/kernel_table.h"
#include "kernels/training_kernels.h"
#include "train/chunks.h"
#include "train/pass_layout.h"
#include "train/train_weights.h"

namespace elasticlm {

class PassRun {
 public:
  PassRun(const PackedWeights& weights, Saving saving);

  void forward(const TokenBatch& batch, std::span<const Structure> structures, const TrainThreads& threads);
  void backward(float* d_hidden, ParameterSet& gradients, MaskGradients* masks, const TrainThreads& threads);

  const PassLayout& layout() const { return layout_; }
  const float* last_qkv() const;
  int64_t last_qkv_ld() const;
  bool is_one_full_structure() const;
  int64_t bytes() const;

 private:
  // Some neighbouring rows of one SubLM.
  struct Part {
    int64_t sub;
    int64_t first;  // token
    int64_t num_rows;
    int64_t in_chunk;  // rows of the chunk before it
  };
  // Some rows of the pass on one thread, and the scratch memory that this thread has for them.
  struct RowChunk {
    std::vector<Part> parts;
    std::vector<RowGroup>& groups;
    float* narrow;  // [rows, ld_hidden] operands
    float* wide;    // [rows, widest] operands
  };
  // Some heads of one sequence.
  struct AttentionItem {
    int64_t sub;
    int64_t first;  // token
    int64_t num_rows;
    int64_t head_begin;
    int64_t head_end;
  };
  // What one thread owns.
  struct Worker {
    Arena scratch;
    std::vector<RowGroup> groups;
  };
  // Rows of numbers, and as linear_forward reads them.
  struct Rows {
    const float* x;
    int64_t ld;
    int64_t num_rows;
    int64_t num_columns;
  };
  struct Operand {
    const void* x;
    int64_t ld;
  };
  // A product's place, and what is added to it.
  struct HiddenSum {
    const RowMatrix& y;
    const RowMatrix& residual;
  };
  // One backward.
  struct Backward {
    RowMatrix d_x2;  // of the layer at hand
    ParameterSet& gradients;
    MaskGradients* masks;
    const TrainThreads& threads;
  };
  // What the gradients of a LayerNorm are made of.
  struct NormRows {
    const RowMatrix& x;
    const RowMatrix& dy;
    float* mean;  // [rows of all SubLMs]
    float* rstd;
  };
  // Sums over the batch, each of some columns, in any order and on any thread.
  using Sums = std::vector<std::function<void()>>;
  struct SumTarget {
    ParameterSet& gradients;
    Sums& sums;
  };
  struct WeightGradient;
  struct OutputRows;
  struct TransposedPart;
  struct DepthRows;
  struct SumSource;

  const EncoderConfig& config() const { return weights_.parameters.layout().config; }
  const float* parameter(const ParameterSlot& slot) const { return weights_.parameters.at(slot); }
  LayerPass& layer(int64_t l) { return layout_.layers()[static_cast<size_t>(l)]; }
  const LayerPass& layer(int64_t l) const { return layout_.layers()[static_cast<size_t>(l)]; }
  const LayerSlots& slots(int64_t l) const {
    return weights_.parameters.layout().layers[static_cast<size_t>(l)];
  }
  const LayerMatrices& matrices(int64_t l) const { return weights_.layers[static_cast<size_t>(l)]; }

  // Common to both directions.
  void reserve_workers(const TrainThreads& threads);
  Worker& worker(int worker_idx) { return workers_[static_cast<size_t>(worker_idx)]; }
  std::vector<Part> parts_of(int64_t begin, int64_t end) const;
  // run(RowChunk&) for all rows of the first `num_subs` SubLMs.
  template <typename Run>
  void for_each_row_chunk(int64_t num_subs, const TrainThreads& threads, const Run& run);
  std::vector<AttentionItem> attention_items(int64_t l, const TrainThreads& threads) const;
  float attention_scale() const;

  float* narrow_scratch(const Part& part, const RowChunk& chunk) const {
    return chunk.narrow + part.in_chunk * layout_.ld_hidden();
  }
  float* wide_scratch(const Part& part, const RowChunk& chunk) const {
    return chunk.wide + part.in_chunk * layout_.widest();
  }
  Operand operand(const Rows& rows, float* scratch, int64_t scratch_ld) const;
  Operand hidden_operand(const RowMatrix& rows, const Part& part, const RowChunk& chunk) const;
  Operand wide_operand(const KeptMatrix& rows, int64_t num_columns, const Part& part,
                       const RowChunk& chunk) const;
  // A group from E columns to those of `y` that a SubLM keeps, and one from what it keeps to E columns of
  // `y`.
  RowGroup kept_group(const Part& part, const Operand& x, const KeptMatrix& y,
                      const ColumnRun& columns) const;
  RowGroup hidden_group(const Part& part, const Operand& x, const KRun& depth, const HiddenSum& y) const;
  void multiply(const PackedMatrixView& weight, std::span<const RowGroup> groups) const;
  void normalize(const LayerNormSlots& slots, const Part& part, const RowMatrix& x, const RowMatrix& y) const;
  void copy_rows(const RowMatrix& from, const RowMatrix& to, const Part& part) const;
  void clear_padding(const RowMatrix& rows) const;

  void embed(const TrainThreads& threads);
  void forward_layer(int64_t l, const TrainThreads& threads);
  void project_qkv(int64_t l, RowChunk& chunk);
  void attend(int64_t l, const AttentionItem& item, float* scratch) const;
  void finish_layer(int64_t l, RowChunk& chunk);
  void save_last_qkv();

  void backward_layer(int64_t l, const Backward& pass);
  void backward_rows(int64_t l, const Backward& pass, RowChunk& chunk);
  void backward_ffn(int64_t l, const Backward& pass, RowChunk& chunk);
  void backward_layer_norm(const LayerNormSlots& slots, const Part& part, const NormRows& rows,
                           const RowMatrix& dx) const;
  KeptMatrix d_activations(const SubLayer& sub, const Backward& pass) const;
  void sum_shared_context(int64_t l, const TrainThreads& threads);
  void backward_attention(int64_t l, const AttentionItem& item, float* scratch) const;
  void backward_qkv(int64_t l, RowChunk& chunk);
  void backward_embedding(const Backward& pass);

  void add_weight_gradients(int64_t l, const Backward& pass);
  void pack_depth(const TrainThreads& threads, const DepthRows (&matrices)[kNumDepthPackings]) const;
  PackedMatrixView depth_packing(size_t place, int64_t num_rows) const;
  template <typename Visit>
  void for_each_qkv_run(const LayerPass& saved, const Visit& visit) const;
  void add_outputs(const OutputRows& all, std::vector<OutputRows>& outputs) const;
  void add_product(const OutputRows& output, Worker& own) const;
  void transpose(const TransposedPart& part, std::byte* to) const;
  Sums layer_sums(int64_t l, const Backward& pass) const;
  void add_bias_sums(const std::vector<SumSource>& sources, float* gradient, Sums& sums) const;
  void add_norm_sums(const LayerNormSlots& slots, const NormRows& rows, int64_t num_subs,
                     const SumTarget& to) const;
  void add_mask_sums(int64_t l, MaskGradients& masks, Sums& sums) const;
  void add_embedding_gradients(const Backward& pass) const;

  const PackedWeights& weights_;
  const Saving saving_;
  const KernelTable& kernels_;
  const TrainingKernels& training_;
  PassLayout layout_;
  TokenBatch batch_;
  bool is_forward_done_ = false;
  std::vector<int32_t> position_ids_;  // [T]
  int64_t max_seqlen_ = 0;
  int64_t chunk_rows_ = 0;
  const ColumnRun hidden_columns_;
  const KRun hidden_depth_;
  Arena forward_arena_;
  Arena backward_arena_;
  Arena d_activations_arena_;
  float* d_activations_ = nullptr;  // [T, F] gradient of GELU's output, where masks want it
  Arena last_qkv_arena_;
  float* last_qkv_ = nullptr;  // without the heads' padding, where there is any
  std::deque<Worker> workers_;
};

template <typename Run>
void PassRun::for_each_row_chunk(int64_t num_subs, const TrainThreads& threads, const Run& run) {
  const int64_t num_rows = num_subs * layout_.num_tokens();
  const int64_t step = chunk_rows_;
  for_each_chunk(threads, (num_rows + step - 1) / step, [&](int64_t i, int worker_idx) {
    Worker& own = worker(worker_idx);
    const int64_t num_narrow = step * layout_.ld_hidden();
    float* const scratch = own.scratch.reserve<float>(num_narrow + step * layout_.widest());
    RowChunk chunk{.parts = parts_of(i * step, std::min((i + 1) * step, num_rows)),
                   .groups = own.groups,
                   .narrow = scratch,
                   .wide = scratch + num_narrow};
    run(chunk);
  });
}

}  // namespace elasticlm
