#include "plan/plan.h"

#include <algorithm>

#include "core/aligned_buffer.h"
#include "core/packed_matrix.h"
#include "plan/blocks.h"
#include "plan/cost.h"

namespace elasticlm {
namespace {

// A split step divides the rows where each thread gets a whole register tile of them, which computes for as
// long as reading the weights takes; with fewer, every thread would wait for all weights, so the step divides
// the weight panels. A row split has two meetings in a layer, a panel split seven: 3.5 ms against 3.8 at
// 1x32, 0.37 against 0.50 there at level 0.1, no difference at 1x16 (MiniLM in f32, 2 threads, 2-core Zen 4,
// 2026-11-24). Rows of several structures cost unlike amounts: dividing panels divides the work.
bool splits_panels(const PlanBlock& block) {
  return block.segments.size() > 1 || block.num_rows < block.num_chunks * kTileRows;
}

// Rows of `columns` elements: whole weight blocks, since those are written whole, in whole cache lines, and
// an odd number of lines, so that the rows of a register tile fall into different sets of a cache with a
// power of two of sets.
Region rows_of(int64_t columns, int64_t element_bytes) {
  constexpr auto kLine = static_cast<int64_t>(kCacheLineBytes);
  const int64_t bytes = num_blocks_of(columns) * kBlockColumns * element_bytes;
  const int64_t num_lines = (bytes + kLine - 1) / kLine | 1;
  return {.begin = 0, .ld = num_lines * kLine / element_bytes, .element_bytes = element_bytes};
}

std::vector<PlanStep> make_steps(const EncoderConfig& config, Precision precision) {
  std::vector<PlanStep> steps = {{StepOp::kEmbedding, 0}};
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    for (const StepOp op : {StepOp::kQkvProj, StepOp::kAttention, StepOp::kQuantizeContext,
                            StepOp::kAttnOutProj, StepOp::kAttnLayerNorm, StepOp::kFfnUp,
                            StepOp::kQuantizeFfn, StepOp::kFfnDown, StepOp::kFfnLayerNorm}) {
      const bool quantizes = op == StepOp::kQuantizeContext || op == StepOp::kQuantizeFfn;
      if (!quantizes || precision == Precision::kI8) steps.push_back({op, layer});
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

ArenaLayout make_arena(const EncoderConfig& config, const std::vector<PlanBlock>& blocks,
                       Precision precision) {
  const int64_t activation_bytes = precision == Precision::kF32 ? sizeof(float) : sizeof(BF16);
  ArenaLayout arena;
  for (const PlanBlock& block : blocks) arena.num_rows = std::max(arena.num_rows, block.num_rows);

  int64_t end = 0;
  const auto place_bytes = [&end](int64_t num_bytes) {
    const int64_t begin = end;
    end += round_up(num_bytes, kCacheLineBytes);
    return begin;
  };
  const auto place = [&](int64_t columns, int64_t element_bytes) {
    Region region = rows_of(columns, element_bytes);
    region.begin = place_bytes(region.row(arena.num_rows));
    return region;
  };
  arena.ids = place_bytes(3 * arena.num_rows * static_cast<int64_t>(sizeof(int32_t)));
  arena.hidden = place(config.hidden_size, sizeof(float));
  arena.hidden_operand = arena.hidden;
  if (precision == Precision::kBF16) arena.hidden_operand = place(config.hidden_size, sizeof(BF16));
  if (precision == Precision::kI8) {
    // One stride for all that it holds: a chunk of rows may be ahead of another.
    arena.hidden_operand = place(std::max(config.hidden_size, config.intermediate_size), sizeof(int8_t));
    arena.row_scales = place_bytes(arena.num_rows * static_cast<int64_t>(sizeof(RowScale)));
  }
  // As they come: 3 D elements are 3 x 2^n cache lines for D of 32 and 64, n at most 2, so that 16 rows or
  // more fall into different sets all the same.
  arena.qkv = {.begin = 0, .ld = config.qkv_head_columns(), .element_bytes = activation_bytes};
  arena.qkv_head_stride = arena.num_rows * arena.qkv.ld;
  arena.qkv.begin = place_bytes(config.num_heads * arena.qkv_head_stride * activation_bytes);
  // In bf16 the context takes the place of the rounded hidden states, which nothing reads after q, k and v.
  arena.context =
      precision == Precision::kBF16 ? arena.hidden_operand : place(config.hidden_size, activation_bytes);
  arena.ffn = place(config.intermediate_size, activation_bytes);
  arena.num_bytes = end;  // whatever the split, so that no level needs a larger arena than another
  // The FFN's activations live when q, k, v and context do not, unless one chunk of rows may be ahead of
  // another: then reusing their memory keeps the block's footprint in cache small.
  if (!has_row_split(blocks)) arena.ffn.begin = arena.qkv.begin;
  const bool is_quantized = precision == Precision::kI8;
  arena.context_operand = is_quantized ? arena.hidden_operand : arena.context;
  arena.ffn_operand = is_quantized ? arena.hidden_operand : arena.ffn;
  return arena;
}

}  // namespace

Range chunk_range(int64_t size, int64_t granularity, int64_t num_chunks, int64_t chunk_idx) {
  const int64_t units = (size + granularity - 1) / granularity;
  const auto bound = [&](int64_t i) { return std::min(units * i / num_chunks * granularity, size); };
  return {bound(chunk_idx), bound(chunk_idx + 1)};
}

Plan make_plan(const EncoderConfig& config, std::span<const Structure> structures, const BatchShape& shape,
               const PlanOptions& options) {
  std::vector<StructureCost> costs;
  costs.reserve(structures.size());
  for (const Structure& structure : structures) costs.push_back(structure_cost(config, structure));

  Plan plan;
  plan.precision = options.precision;
  plan.steps = make_steps(config, options.precision);
  plan.blocks = make_blocks(costs, shape, options.num_threads);
  for (PlanBlock& block : plan.blocks) {
    block.stages = make_stages(plan.steps, block);
    if (block.num_chunks == 1) ++plan.num_whole_blocks;
  }
  plan.arena = make_arena(config, plan.blocks, options.precision);
  for (size_t i = 0; i < shape.structure_idx.size(); ++i) {
    plan.max_seqlen = std::max<int64_t>(plan.max_seqlen, shape.cu_seqlens[i + 1] - shape.cu_seqlens[i]);
  }
  return plan;
}

}  // namespace elasticlm
