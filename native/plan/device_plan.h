// From (config, structures, batch shape) to the records that GPU kernels read (kernels/cuda/records.h). Plain
// numbers: no pointers to data, testable without a GPU.
//
// Rows are the batch's tokens with sequences of one structure side by side: structures by falling cost,
// within a structure by falling length, equal ones in the batch's order. So the longest work starts first,
// and a linear step has one group for each structure, or fewer: neighbouring structures that keep the same of
// a step share its group and its last, partial tile.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/records.h"
#include "model/config.h"
#include "model/structure.h"
#include "plan/plan.h"

namespace elasticlm::cuda {

// A layer's linear steps in the order in which they run and in which DevicePlan has them.
enum class LayerLinear { kQkvProj, kAttnOutProj, kFfnUp, kFfnDown };
inline constexpr int64_t kLayerLinears = 4;
// After the layers': the steps of the heads, over one row for each sequence.
enum class HeadLinear { kPooler, kClassifier };
inline constexpr int64_t kHeadLinears = 2;

constexpr int64_t linear_step_idx(int64_t layer, LayerLinear linear) {
  return layer * kLayerLinears + static_cast<int64_t>(linear);
}
constexpr int64_t linear_step_idx(const EncoderConfig& config, HeadLinear linear) {
  return config.num_layers * kLayerLinears + static_cast<int64_t>(linear);
}
constexpr int64_t num_linear_steps(const EncoderConfig& config) {
  return config.num_layers * kLayerLinears + kHeadLinears;
}

struct DevicePlan {
  PlanHeader header;
  std::vector<SequenceRecord> sequences;       // [B]
  std::vector<int32_t> sequence_positions;     // [B] in the caller's batch
  std::vector<int32_t> batch_rows;             // [T] the row's place in the caller's batch
  std::vector<int32_t> position_ids;           // [T]
  std::vector<LinearStep> linear_steps;        // [num_linear_steps]
  std::vector<LinearGroup> linear_groups;      //
  std::vector<int32_t> row_blocks;             // lists, each once
  std::vector<AttentionStep> attention_steps;  // [L]
  std::vector<AttentionGroup> attention_groups;
  std::vector<AttentionTile> attention_tiles;
  int64_t num_structures = 0;  // that the batch's sequences have: no step has more groups

  std::string to_string() const;
};

// Writes plans, one after another, into the same memory: a plan of a size seen before allocates nothing.
class DevicePlanner {
 public:
  // `num_labels` of the classifier, 0 without one. head_dim must be a multiple of kRowBlock.
  DevicePlanner(const EncoderConfig& config, int64_t num_labels);

  // `shape` must come from a validated batch. Valid until the next call.
  const DevicePlan& plan(std::span<const Structure> structures, const BatchShape& shape);

 private:
  struct UsedStructure {
    double flops_per_row = 0;
    int32_t structure_idx = 0;
  };
  // Neighbouring rows of one structure.
  struct Segment {
    const Structure* structure = nullptr;
    int64_t row_begin = 0;
    int64_t num_rows = 0;
    int64_t tile_begin = 0;
    int64_t num_tiles = 0;
  };
  // Units (heads, or blocks of neurons) of which each is so many blocks of a stored weight's rows.
  struct UnitList {
    std::string_view bytes;  // of the rising positions, in the caller's structure
    int64_t blocks_per_unit = 1;
    bool operator==(const UnitList&) const = default;
  };
  struct UnitListHash {
    size_t operator()(const UnitList& list) const;
  };

  void order_sequences(std::span<const Structure> structures, const BatchShape& shape);
  void place_rows(std::span<const Structure> structures, const BatchShape& shape);
  void add_linear(int64_t layer, LayerLinear linear);
  void add_attention(int64_t layer);
  void add_head(int64_t num_kept_columns);
  LinearGroup make_group(LayerLinear linear, const Segment& segment, const LayerStructure& kept);
  int32_t list_begin(const std::vector<int32_t>& units, int64_t blocks_per_unit);

  EncoderConfig config_;
  int64_t num_labels_;
  DevicePlan plan_;
  std::vector<int32_t> order_;           // [B] positions in the batch, in the plan's order
  std::vector<int32_t> previous_order_;  // [B] during a sort
  std::vector<int32_t> counts_;          // during a sort
  std::vector<int32_t> rank_;            // by structure: its place among those used, or -1
  std::vector<UsedStructure> used_;      // by falling cost
  std::vector<Segment> segments_;        // [structures used]
  std::unordered_map<UnitList, int32_t, UnitListHash> list_begins_;  // in row_blocks
};

}  // namespace elasticlm::cuda
