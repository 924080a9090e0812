#include "plan/plan.h"

#include <algorithm>

#include "core/packed_matrix.h"
#include "plan/blocks.h"
#include "plan/cost.h"

namespace elasticlm {
namespace {

// A split step divides the rows where each thread gets a whole register tile of them, which computes for as
// long as reading the weights takes; with fewer, every thread would wait for all weights, so the step divides
// the weight panels. A row split has two meetings in a layer, a panel split seven: 3.5 ms against 3.8 at
// 1x32, 0.37 against 0.50 there at level 0.1, no difference at 1x16 (MiniLM in f32, 2 threads, 2-core Zen 4,
// 2026-11-24).
bool splits_panels(const PlanBlock& block) { return block.num_rows < block.num_chunks * kTileRows; }

// Floats from one row to the next for rows of `columns`: whole cache lines, so that weight blocks are written
// whole, and an odd number of them, so that the rows of a register tile fall into different sets of a cache
// with a power of two of sets.
int64_t row_stride(int64_t columns) { return (num_blocks_of(columns) | 1) * kBlockColumns; }

std::vector<PlanStep> make_steps(const EncoderConfig& config) {
  std::vector<PlanStep> steps = {{StepOp::kEmbedding, 0}};
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    for (const StepOp op :
         {StepOp::kQkvProj, StepOp::kAttention, StepOp::kAttnOutProj, StepOp::kAttnLayerNorm, StepOp::kFfnUp,
          StepOp::kFfnDown, StepOp::kFfnLayerNorm}) {
      steps.push_back({op, layer});
    }
  }
  return steps;
}

Split split_of(StepOp op, bool by_panels) {
  if (op == StepOp::kAttention) return Split::kContext;
  if (!by_panels) return Split::kRows;
  switch (op) {
    case StepOp::kQkvProj:
    case StepOp::kAttnOutProj:
    case StepOp::kFfnUp:
    case StepOp::kFfnDown:
      return Split::kPanels;
    default:
      return Split::kWhole;  // a few microseconds for so few rows: less than what handing it out would gain
  }
}

std::vector<Stage> make_stages(const std::vector<PlanStep>& steps, const PlanBlock& block) {
  const auto num_steps = static_cast<int32_t>(steps.size());
  if (block.num_chunks == 1) return {{0, num_steps, Split::kWhole, 1}};
  const bool by_panels = splits_panels(block);
  std::vector<Stage> stages;
  for (int32_t i = 0; i < num_steps; ++i) {
    const Split split = split_of(steps[static_cast<size_t>(i)].op, by_panels);
    // A row's way from the output projection to the next layer's queries needs no other row, so it is one
    // stage; after a panel split every step needs the whole row.
    const bool joins = !stages.empty() && stages.back().split == split && split != Split::kPanels;
    if (joins) {
      stages.back().step_end = i + 1;
    } else {
      stages.push_back({i, i + 1, split, split == Split::kWhole ? 1 : block.num_chunks});
    }
  }
  return stages;
}

bool has_row_split(const std::vector<PlanBlock>& blocks) {
  for (const PlanBlock& block : blocks) {
    for (const Stage& stage : block.stages) {
      if (stage.split == Split::kRows) return true;
    }
  }
  return false;
}

ArenaLayout make_arena(const EncoderConfig& config, const std::vector<PlanBlock>& blocks) {
  ArenaLayout arena;
  for (const PlanBlock& block : blocks) arena.num_rows = std::max(arena.num_rows, block.num_rows);
  arena.ld_hidden = row_stride(config.hidden_size);
  arena.ld_ffn = row_stride(config.intermediate_size);
  arena.qkv_head_stride = arena.num_rows * config.qkv_head_columns();

  int64_t end = 0;
  const auto place = [&end](int64_t num_floats) {
    const int64_t begin = end;
    end += round_up(num_floats, kBlockColumns);
    return begin;
  };
  arena.ids = place(3 * arena.num_rows);
  arena.hidden = place(arena.num_rows * arena.ld_hidden);
  arena.qkv = place(config.num_heads * arena.qkv_head_stride);
  arena.context = place(arena.num_rows * arena.ld_hidden);
  arena.ffn = place(arena.num_rows * arena.ld_ffn);
  arena.num_floats = end;  // whatever the split, so that no level needs a larger arena than another
  // The FFN's activations live when q, k, v and context do not, unless one chunk of rows may be ahead of
  // another: then reusing their memory keeps the block's footprint in cache small.
  if (!has_row_split(blocks)) arena.ffn = arena.qkv;
  return arena;
}

}  // namespace

Range chunk_range(int64_t size, int64_t granularity, int64_t num_chunks, int64_t chunk_idx) {
  const int64_t units = (size + granularity - 1) / granularity;
  const auto bound = [&](int64_t i) { return std::min(units * i / num_chunks * granularity, size); };
  return {bound(chunk_idx), bound(chunk_idx + 1)};
}

Plan make_plan(const EncoderConfig& config, std::span<const Structure> structures, const BatchShape& shape,
               int num_threads) {
  std::vector<StructureCost> costs;
  costs.reserve(structures.size());
  for (const Structure& structure : structures) costs.push_back(structure_cost(config, structure));

  Plan plan;
  plan.steps = make_steps(config);
  plan.blocks = make_blocks(costs, shape, num_threads);
  for (PlanBlock& block : plan.blocks) {
    block.stages = make_stages(plan.steps, block);
    if (block.num_chunks == 1) ++plan.num_whole_blocks;
  }
  plan.arena = make_arena(config, plan.blocks);
  for (size_t i = 0; i < shape.structure_idx.size(); ++i) {
    plan.max_seqlen = std::max<int64_t>(plan.max_seqlen, shape.cu_seqlens[i + 1] - shape.cu_seqlens[i]);
  }
  return plan;
}

}  // namespace elasticlm
