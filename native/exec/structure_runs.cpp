#include "exec/structure_runs.h"

#include <algorithm>

#include "core/packed_matrix.h"

namespace elasticlm {

StructureRuns::StructureRuns(const EncoderConfig& config, const Structure& structure,
                             int64_t qkv_head_stride) {
  column_runs_.push_back({0, num_blocks_of(config.hidden_size), 0});
  hidden_columns_ = {0, 1};
  depth_runs_.push_back({0, config.hidden_size});
  hidden_depth_ = {0, 1};
  layers_.reserve(structure.layers.size());
  for (const LayerStructure& kept : structure.layers) {
    Layer layer;
    add_heads(config, kept, qkv_head_stride, layer);
    add_neurons(config, kept, layer);
    layers_.push_back(layer);
  }
}

void StructureRuns::add_depth(int64_t k_begin, int64_t k_count, int64_t first_run) {
  const bool has_neighbour = static_cast<int64_t>(depth_runs_.size()) > first_run &&
                             depth_runs_.back().k_begin + depth_runs_.back().k_count == k_begin;
  if (has_neighbour) {
    depth_runs_.back().k_count += k_count;
  } else {
    depth_runs_.push_back({k_begin, k_count});
  }
}

void StructureRuns::add_heads(const EncoderConfig& config, const LayerStructure& kept,
                              int64_t qkv_head_stride, Layer& layer) {
  const int64_t head_dim = config.head_dim();
  const int64_t head_blocks = config.qkv_head_columns() / kBlockColumns;
  layer.num_heads = kept.num_heads;
  layer.qkv_columns.begin = static_cast<int64_t>(column_runs_.size());
  layer.context_depth.begin = static_cast<int64_t>(depth_runs_.size());
  for (int64_t i = 0; i < kept.num_heads; ++i) {
    const int64_t head = kept.heads.empty() ? i : kept.heads[static_cast<size_t>(i)];
    column_runs_.push_back({head * head_blocks, head_blocks, i * qkv_head_stride});
    add_depth(head * head_dim, head_dim, layer.context_depth.begin);
  }
  layer.qkv_columns.end = static_cast<int64_t>(column_runs_.size());
  layer.context_depth.end = static_cast<int64_t>(depth_runs_.size());
}

void StructureRuns::add_neurons(const EncoderConfig& config, const LayerStructure& kept, Layer& layer) {
  layer.num_neurons = kept.num_neurons;
  layer.ffn_columns.begin = static_cast<int64_t>(column_runs_.size());
  layer.ffn_depth.begin = static_cast<int64_t>(depth_runs_.size());
  if (kept.neuron_blocks.empty() && kept.num_neurons > 0) {
    column_runs_.push_back({0, num_blocks_of(kept.num_neurons), 0});
    depth_runs_.push_back({0, kept.num_neurons});
  }
  int64_t y_offset = 0;
  for (const int32_t block : kept.neuron_blocks) {
    const bool has_neighbour = static_cast<int64_t>(column_runs_.size()) > layer.ffn_columns.begin &&
                               column_runs_.back().block_begin + column_runs_.back().num_blocks == block;
    if (has_neighbour) {
      ++column_runs_.back().num_blocks;
    } else {
      column_runs_.push_back({block, 1, y_offset});
    }
    const int64_t first = block * kNeuronBlock;
    add_depth(first, std::min(kNeuronBlock, config.intermediate_size - first), layer.ffn_depth.begin);
    y_offset += kBlockColumns;
  }
  layer.ffn_columns.end = static_cast<int64_t>(column_runs_.size());
  layer.ffn_depth.end = static_cast<int64_t>(depth_runs_.size());
}

}  // namespace elasticlm
