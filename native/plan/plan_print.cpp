#include <cstdio>

#include "plan/plan.h"

namespace elasticlm {
namespace {

template <typename... Values>
void append(std::string& text, const char* format, Values... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  text += line;
}

long long wide(int64_t value) { return static_cast<long long>(value); }

void append_linear(std::string& text, const Segment& segment, int64_t N, int64_t K) {
  if (N == 0 || K == 0) {
    append(text, "      structure %d: skipped\n", segment.structure_idx);
  } else {
    append(text, "      structure %d: M=%lld N=%lld K=%lld\n", segment.structure_idx, wide(segment.num_rows),
           wide(N), wide(K));
  }
}

void append_rows(std::string& text, const Segment& segment, int64_t N) {
  if (N == 0) {
    append(text, "      structure %d: skipped\n", segment.structure_idx);
  } else {
    append(text, "      structure %d: M=%lld N=%lld\n", segment.structure_idx, wide(segment.num_rows),
           wide(N));
  }
}

void append_segment_step(std::string& text, const EncoderConfig& config, const Segment& segment, StepOp op,
                         const LayerStructure& kept) {
  const int64_t context_size = kept.num_heads * config.head_dim();
  switch (op) {
    case StepOp::kQkvProj:
      return append_linear(text, segment, 3 * context_size, config.hidden_size);
    case StepOp::kAttention:
      append(text, "      structure %d: heads=%lld of %lld, sequences=%zu\n", segment.structure_idx,
             wide(kept.num_heads), wide(config.num_heads), segment.sequences.size());
      return;
    case StepOp::kAttnOutProj:
      return append_linear(text, segment, config.hidden_size, context_size);
    case StepOp::kFfnUp:
      return append_linear(text, segment, kept.num_neurons, config.hidden_size);
    case StepOp::kFfnDown:
      return append_linear(text, segment, config.hidden_size, kept.num_neurons);
    case StepOp::kQuantizeContext:
      return append_rows(text, segment, context_size);
    case StepOp::kQuantizeFfn:
      return append_rows(text, segment, kept.num_neurons);
    case StepOp::kEmbedding:
    case StepOp::kAttnLayerNorm:
    case StepOp::kFfnLayerNorm:
      return append_rows(text, segment, config.hidden_size);
  }
}

void append_segments(std::string& text, const PlanBlock& block) {
  for (const Segment& segment : block.segments) {
    append(text, "  rows %lld..%lld structure %d sequences", wide(segment.row_begin),
           wide(segment.row_begin + segment.num_rows), segment.structure_idx);
    for (const int32_t sequence : segment.sequences) append(text, " %d", sequence);
    text += "\n";
  }
}

}  // namespace

const char* step_op_name(StepOp op) {
  switch (op) {
    case StepOp::kEmbedding:
      return "embedding";
    case StepOp::kQkvProj:
      return "qkv_proj";
    case StepOp::kAttention:
      return "attention";
    case StepOp::kQuantizeContext:
      return "quantize_context";
    case StepOp::kAttnOutProj:
      return "attn_out_proj";
    case StepOp::kAttnLayerNorm:
      return "attn_layer_norm";
    case StepOp::kFfnUp:
      return "ffn_up";
    case StepOp::kQuantizeFfn:
      return "quantize_ffn";
    case StepOp::kFfnDown:
      return "ffn_down";
    case StepOp::kFfnLayerNorm:
      return "ffn_layer_norm";
  }
  return "unknown";
}

const char* split_name(Split split) {
  switch (split) {
    case Split::kWhole:
      return "whole";
    case Split::kRows:
      return "rows";
    case Split::kPanels:
      return "panels";
    case Split::kContext:
      return "context";
  }
  return "unknown";
}

std::string Plan::to_string(const EncoderConfig& config, std::span<const Structure> structures) const {
  std::string text;
  append(text, "plan: %s, %zu blocks (%lld side by side), %zu steps, longest sequence %lld\n",
         precision_name(precision), blocks.size(), wide(num_whole_blocks), steps.size(), wide(max_seqlen));
  append(text, "arena: %lld rows, %lld bytes: ids %lld, hidden %lld", wide(arena.num_rows),
         wide(arena.num_bytes), wide(arena.ids), wide(arena.hidden.begin));
  if (precision != Precision::kF32) append(text, ", operand %lld", wide(arena.hidden_operand.begin));
  append(text, ", qkv %lld, context %lld, ffn %lld\n", wide(arena.qkv.begin), wide(arena.context.begin),
         wide(arena.ffn.begin));
  for (size_t i = 0; i < blocks.size(); ++i) {
    const PlanBlock& block = blocks[i];
    append(text, "block %zu: %lld rows, %lld chunks\n", i, wide(block.num_rows), wide(block.num_chunks));
    append_segments(text, block);
    for (const Stage& stage : block.stages) {
      append(text, "  stage: %s, %lld chunks\n", split_name(stage.split), wide(stage.num_chunks));
      for (int32_t s = stage.step_begin; s < stage.step_end; ++s) {
        const PlanStep& step = steps[static_cast<size_t>(s)];
        append(text, "    layer %d %s\n", step.layer, step_op_name(step.op));
        for (const Segment& segment : block.segments) {
          const Structure& structure = structures[static_cast<size_t>(segment.structure_idx)];
          append_segment_step(text, config, segment, step.op,
                              structure.layers[static_cast<size_t>(step.layer)]);
        }
      }
    }
  }
  return text;
}

}  // namespace elasticlm
