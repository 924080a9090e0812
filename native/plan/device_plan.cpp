#include "plan/device_plan.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/packed_matrix.h"
#include "plan/cost.h"

namespace elasticlm::cuda {
namespace {

static_assert(kRowBlock == kNeuronBlock && kRowBlock == kBlockColumns,
              "one unit of keeping, on every device");

int32_t narrow(int64_t value) { return static_cast<int32_t>(value); }
size_t at(int64_t position) { return static_cast<size_t>(position); }

int32_t length_of(const BatchShape& shape, int32_t sequence) {
  return shape.cu_seqlens[at(sequence) + 1] - shape.cu_seqlens[at(sequence)];
}

// Sorts `from` into `to` by `key_of`, in [0, num_keys), equal ones in their order. Linear, unlike
// std::stable_sort: a batch may be thousands of short sequences.
template <typename KeyOf>
void stable_counting_sort(const std::vector<int32_t>& from, int64_t num_keys, const KeyOf& key_of,
                          std::vector<int32_t>& counts, std::vector<int32_t>& to) {
  counts.assign(at(num_keys) + 1, 0);
  for (const int32_t item : from) ++counts[at(key_of(item)) + 1];
  std::partial_sum(counts.begin(), counts.end(), counts.begin());
  to.resize(from.size());
  for (const int32_t item : from) to[at(counts[at(key_of(item))]++)] = item;
}

// A rising list without gaps from 0 on is a prefix, and cheaper as one.
bool is_prefix(const std::vector<int32_t>& units) {
  return units.empty() || units.back() == narrow(std::ssize(units)) - 1;
}

// Whether rows of the two may be one group: the same work, one after the other.
bool continues(const LinearGroup& first, const LinearGroup& second) {
  return first.row_begin + first.num_rows == second.row_begin && first.num_columns == second.num_columns &&
         first.num_kept_columns == second.num_kept_columns && first.depth == second.depth &&
         first.row_blocks == second.row_blocks;
}

}  // namespace

DevicePlanner::DevicePlanner(const EncoderConfig& config, int64_t num_labels)
    : config_(config), num_labels_(num_labels) {}

size_t DevicePlanner::UnitListHash::operator()(const UnitList& list) const {
  return std::hash<std::string_view>()(list.bytes) * 31 + at(list.blocks_per_unit);
}

const DevicePlan& DevicePlanner::plan(std::span<const Structure> structures, const BatchShape& shape) {
  order_sequences(structures, shape);
  place_rows(structures, shape);
  plan_.linear_steps.clear();
  plan_.linear_groups.clear();
  plan_.row_blocks.clear();
  plan_.attention_steps.clear();
  plan_.attention_groups.clear();
  list_begins_.clear();
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    for (const LayerLinear linear :
         {LayerLinear::kQkvProj, LayerLinear::kAttnOutProj, LayerLinear::kFfnUp, LayerLinear::kFfnDown}) {
      add_linear(layer, linear);
    }
    add_attention(layer);
  }
  add_head(config_.hidden_size);
  add_head(num_labels_);
  return plan_;
}

void DevicePlanner::order_sequences(std::span<const Structure> structures, const BatchShape& shape) {
  rank_.assign(structures.size(), -1);
  used_.clear();
  for (const int32_t structure : shape.structure_idx) {
    if (rank_[at(structure)] >= 0) continue;
    rank_[at(structure)] = 0;
    used_.push_back({structure_cost(config_, structures[at(structure)]).flops_per_row, structure});
  }
  std::sort(used_.begin(), used_.end(), [](const UsedStructure& a, const UsedStructure& b) {
    return a.flops_per_row != b.flops_per_row ? a.flops_per_row > b.flops_per_row
                                              : a.structure_idx < b.structure_idx;
  });
  plan_.num_structures = std::ssize(used_);
  for (int64_t i = 0; i < plan_.num_structures; ++i) rank_[at(used_[at(i)].structure_idx)] = narrow(i);

  int32_t longest = 0;
  order_.resize(shape.structure_idx.size());
  std::iota(order_.begin(), order_.end(), 0);
  for (const int32_t sequence : order_) longest = std::max(longest, length_of(shape, sequence));
  stable_counting_sort(
      order_, longest + 1, [&](int32_t sequence) { return longest - length_of(shape, sequence); }, counts_,
      previous_order_);
  stable_counting_sort(
      previous_order_, plan_.num_structures,
      [&](int32_t sequence) { return rank_[at(shape.structure_idx[at(sequence)])]; }, counts_, order_);
}

void DevicePlanner::place_rows(std::span<const Structure> structures, const BatchShape& shape) {
  const int32_t num_rows = shape.cu_seqlens.back();
  plan_.sequences.clear();
  plan_.attention_tiles.clear();
  plan_.sequence_positions = order_;
  plan_.batch_rows.resize(at(num_rows));
  plan_.position_ids.resize(at(num_rows));
  segments_.clear();
  int32_t row = 0;
  for (const int32_t sequence : order_) {
    const Structure* structure = &structures[at(shape.structure_idx[at(sequence)])];
    if (segments_.empty() || segments_.back().structure != structure) {
      segments_.push_back({structure, row, 0, std::ssize(plan_.attention_tiles), 0});
    }
    const int32_t length = length_of(shape, sequence);
    plan_.sequences.push_back({row, length, sequence});
    std::iota(plan_.batch_rows.begin() + row, plan_.batch_rows.begin() + row + length,
              shape.cu_seqlens[at(sequence)]);
    std::iota(plan_.position_ids.begin() + row, plan_.position_ids.begin() + row + length, 0);
    for (int32_t query = 0; query < length; query += kAttentionQueries) {
      plan_.attention_tiles.push_back({row, length, query});
      ++segments_.back().num_tiles;
    }
    segments_.back().num_rows += length;
    row += length;
  }
  plan_.header = {num_rows, narrow(std::ssize(order_)), narrow(std::ssize(plan_.attention_tiles))};
}

void DevicePlanner::add_linear(int64_t layer, LayerLinear linear) {
  const auto first_group = std::ssize(plan_.linear_groups);
  for (const Segment& segment : segments_) {
    const LinearGroup group = make_group(linear, segment, segment.structure->layers[at(layer)]);
    if (group.num_columns == 0 || group.depth == 0) continue;
    if (std::ssize(plan_.linear_groups) > first_group && continues(plan_.linear_groups.back(), group)) {
      plan_.linear_groups.back().num_rows += group.num_rows;
    } else {
      plan_.linear_groups.push_back(group);
    }
  }
  plan_.linear_steps.push_back({narrow(first_group), narrow(std::ssize(plan_.linear_groups) - first_group)});
}

LinearGroup DevicePlanner::make_group(LayerLinear linear, const Segment& segment,
                                      const LayerStructure& kept) {
  const bool of_heads = linear == LayerLinear::kQkvProj || linear == LayerLinear::kAttnOutProj;
  const bool by_columns = linear == LayerLinear::kQkvProj || linear == LayerLinear::kFfnUp;
  const int64_t rows_per_head = linear == LayerLinear::kQkvProj ? 3 * config_.head_dim() : config_.head_dim();
  const int64_t num_kept = of_heads ? kept.num_heads * rows_per_head : kept.num_neurons;
  const std::vector<int32_t>& units = of_heads ? kept.heads : kept.neuron_blocks;

  LinearGroup group;
  group.row_begin = narrow(segment.row_begin);
  group.num_rows = narrow(segment.num_rows);
  group.num_columns = narrow(by_columns ? round_up(num_kept, kRowBlock) : config_.hidden_size);
  group.num_kept_columns = narrow(by_columns ? num_kept : config_.hidden_size);
  group.depth = narrow(by_columns ? config_.hidden_size : round_up(num_kept, kRowBlock));
  if (!is_prefix(units)) group.row_blocks = list_begin(units, of_heads ? rows_per_head / kRowBlock : 1);
  return group;
}

int32_t DevicePlanner::list_begin(const std::vector<int32_t>& units, int64_t blocks_per_unit) {
  const std::string_view bytes(reinterpret_cast<const char*>(units.data()), units.size() * sizeof(int32_t));
  const auto [entry, is_new] =
      list_begins_.try_emplace({bytes, blocks_per_unit}, narrow(std::ssize(plan_.row_blocks)));
  if (is_new) {
    for (const int32_t unit : units) {
      for (int64_t i = 0; i < blocks_per_unit; ++i) {
        plan_.row_blocks.push_back(narrow(unit * blocks_per_unit + i));
      }
    }
  }
  return entry->second;
}

void DevicePlanner::add_attention(int64_t layer) {
  AttentionStep step;
  step.group_begin = narrow(std::ssize(plan_.attention_groups));
  for (const Segment& segment : segments_) {
    const int32_t num_heads = narrow(segment.structure->layers[at(layer)].num_heads);
    const int32_t tile_begin = narrow(segment.tile_begin);
    const int32_t num_tiles = narrow(segment.num_tiles);
    if (num_heads == 0) continue;
    AttentionGroup* const last = step.num_groups > 0 ? &plan_.attention_groups.back() : nullptr;
    if (last != nullptr && last->num_heads == num_heads && last->tile_begin + last->num_tiles == tile_begin) {
      last->num_tiles += num_tiles;
    } else {
      plan_.attention_groups.push_back({tile_begin, num_tiles, num_heads, step.num_items});
      ++step.num_groups;
    }
    step.num_items += num_tiles * num_heads;
  }
  plan_.attention_steps.push_back(step);
}

void DevicePlanner::add_head(int64_t num_kept_columns) {
  LinearStep step{narrow(std::ssize(plan_.linear_groups)), 0};
  if (num_kept_columns > 0 && plan_.header.num_sequences > 0) {
    plan_.linear_groups.push_back({0, plan_.header.num_sequences,
                                   narrow(round_up(num_kept_columns, kRowBlock)), narrow(num_kept_columns),
                                   narrow(config_.hidden_size), kPrefix});
    step.num_groups = 1;
  }
  plan_.linear_steps.push_back(step);
}

}  // namespace elasticlm::cuda
