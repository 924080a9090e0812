// A structure as the linear kernel wants it: for each layer the runs of weight blocks and of depth that it
// keeps. A prefix is one run (one per head for the head-major q | k | v); a list becomes its runs of
// neighbours. Weights are never copied.
#pragma once

#include <span>
#include <vector>

#include "kernels/linear.h"
#include "model/config.h"
#include "model/structure.h"
#include "plan/plan.h"

namespace elasticlm {

class StructureRuns {
 public:
  StructureRuns() = default;
  // `qkv_head_stride` is the plan's: where in y the next kept head's q | k | v begins.
  StructureRuns(const EncoderConfig& config, const Structure& structure, int64_t qkv_head_stride);

  int64_t num_heads(int32_t layer) const { return at(layer).num_heads; }
  int64_t num_neurons(int32_t layer) const { return at(layer).num_neurons; }
  std::span<const ColumnRun> qkv_columns(int32_t layer) const { return columns(at(layer).qkv_columns); }
  std::span<const KRun> context_depth(int32_t layer) const { return depth(at(layer).context_depth); }
  std::span<const ColumnRun> ffn_columns(int32_t layer) const { return columns(at(layer).ffn_columns); }
  std::span<const KRun> ffn_depth(int32_t layer) const { return depth(at(layer).ffn_depth); }
  // All columns of the hidden states.
  std::span<const ColumnRun> hidden_columns() const { return columns(hidden_columns_); }
  // The whole depth of the hidden states.
  std::span<const KRun> hidden_depth() const { return depth(hidden_depth_); }

 private:
  struct Layer {
    int64_t num_heads = 0;
    int64_t num_neurons = 0;
    Range qkv_columns;    // positions in column_runs_
    Range context_depth;  // positions in depth_runs_
    Range ffn_columns;
    Range ffn_depth;
  };
  const Layer& at(int32_t layer) const { return layers_[static_cast<size_t>(layer)]; }
  std::span<const ColumnRun> columns(const Range& range) const {
    return std::span(column_runs_)
        .subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
  }
  std::span<const KRun> depth(const Range& range) const {
    return std::span(depth_runs_)
        .subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
  }
  void add_heads(const EncoderConfig& config, const LayerStructure& kept, int64_t qkv_head_stride,
                 Layer& layer);
  void add_neurons(const EncoderConfig& config, const LayerStructure& kept, Layer& layer);
  void add_depth(int64_t k_begin, int64_t k_count, int64_t first_run);

  std::vector<ColumnRun> column_runs_;
  std::vector<KRun> depth_runs_;
  std::vector<Layer> layers_;
  Range hidden_columns_;
  Range hidden_depth_;
};

}  // namespace elasticlm
