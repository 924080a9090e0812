#include <cstdio>

#include "plan/device_plan.h"

namespace elasticlm::cuda {
namespace {

template <typename... Values>
void append(std::string& text, const char* format, Values... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  text += line;
}

const char* step_name(const DevicePlan& plan, size_t step_idx) {
  constexpr const char* kLayerNames[] = {"qkv_proj", "attn_out_proj", "ffn_up", "ffn_down"};
  constexpr const char* kHeadNames[] = {"pooler", "classifier"};
  const size_t first_head = plan.attention_steps.size() * kLayerLinears;
  return step_idx < first_head ? kLayerNames[step_idx % kLayerLinears] : kHeadNames[step_idx - first_head];
}

void append_linear(std::string& text, const DevicePlan& plan, size_t step_idx) {
  const LinearStep& step = plan.linear_steps[step_idx];
  append(text, "  %s%s\n", step_name(plan, step_idx), step.num_groups == 0 ? ": skipped" : "");
  for (int32_t i = 0; i < step.num_groups; ++i) {
    const LinearGroup& group = plan.linear_groups[static_cast<size_t>(step.group_begin + i)];
    append(text, "    rows %d..%d N=%d", group.row_begin, group.row_begin + group.num_rows,
           group.num_columns);
    if (group.num_kept_columns != group.num_columns) append(text, " (%d kept)", group.num_kept_columns);
    append(text, " K=%d", group.depth);
    if (group.row_blocks != kPrefix) append(text, " list at %d", group.row_blocks);
    text += "\n";
  }
}

void append_attention(std::string& text, const DevicePlan& plan, size_t layer) {
  const AttentionStep& step = plan.attention_steps[layer];
  append(text, "  attention: %d items\n", step.num_items);
  for (int32_t i = 0; i < step.num_groups; ++i) {
    const AttentionGroup& group = plan.attention_groups[static_cast<size_t>(step.group_begin + i)];
    append(text, "    tiles %d..%d heads=%d\n", group.tile_begin, group.tile_begin + group.num_tiles,
           group.num_heads);
  }
}

}  // namespace

std::string DevicePlan::to_string() const {
  std::string text;
  append(text,
         "device plan: %d rows, %d sequences, %lld structures, %d attention tiles, %zu row blocks listed\n",
         header.num_rows, header.num_sequences, static_cast<long long>(num_structures),
         header.num_attention_tiles, row_blocks.size());
  for (const SequenceRecord& sequence : sequences) {
    append(text, "rows %d..%d sequence %d\n", sequence.row_begin, sequence.row_begin + sequence.num_rows,
           sequence.position);
  }
  for (size_t layer = 0; layer < attention_steps.size(); ++layer) {
    append(text, "layer %zu\n", layer);
    for (size_t i = 0; i < kLayerLinears; ++i) {
      append_linear(text, *this, layer * kLayerLinears + i);
      if (i == static_cast<size_t>(LayerLinear::kQkvProj)) append_attention(text, *this, layer);
    }
  }
  text += "heads\n";
  for (size_t i = attention_steps.size() * kLayerLinears; i < linear_steps.size(); ++i) {
    append_linear(text, *this, i);
  }
  return text;
}

}  // namespace elasticlm::cuda
