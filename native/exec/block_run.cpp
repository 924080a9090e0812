#include "exec/block_run.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/status.h"

namespace elasticlm {
namespace {

// A chunk of attention begins and ends within a head only at multiples of so many queries: each part of a
// head transposes its K again, which fewer queries would not be worth.
constexpr int64_t kQueryGranularity = 32;

EmbeddingTable table(const TensorView& tensor) { return {tensor.data, tensor.dtype}; }

// The columns and the depth that a structure keeps in a linear step.
struct KeptRuns {
  std::span<const ColumnRun> columns;
  std::span<const KRun> depth;
};

KeptRuns kept_runs(const StructureRuns& runs, const PlanStep& step) {
  switch (step.op) {
    case StepOp::kQkvProj:
      return {runs.qkv_columns(step.layer), runs.hidden_depth()};
    case StepOp::kAttnOutProj:
      return {runs.hidden_columns(), runs.context_depth(step.layer)};
    case StepOp::kFfnUp:
      return {runs.ffn_columns(step.layer), runs.hidden_depth()};
    default:
      return {runs.hidden_columns(), runs.ffn_depth(step.layer)};
  }
}

// How many of the weight blocks before `block` belong to `columns`.
int64_t blocks_before(std::span<const ColumnRun> columns, int64_t block) {
  int64_t count = 0;
  for (const ColumnRun& run : columns)
    count += std::clamp(block - run.block_begin, int64_t{0}, run.num_blocks);
  return count;
}

// Appends the part of `columns` whose weight blocks lie in `blocks`.
void append_clipped(std::span<const ColumnRun> columns, const Range& blocks,
                    std::vector<ColumnRun>& clipped) {
  for (const ColumnRun& run : columns) {
    const int64_t begin = std::max(run.block_begin, blocks.begin);
    const int64_t end = std::min(run.block_begin + run.num_blocks, blocks.end);
    if (begin >= end) continue;
    clipped.push_back({begin, end - begin, run.y_offset + (begin - run.block_begin) * kBlockColumns});
  }
}

}  // namespace

BlockRun::BlockRun(const ForwardContext& forward, const PlanBlock& block, int owner_idx)
    : forward_(forward),
      block_(block),
      owner_idx_(owner_idx),
      arena_(forward.workers[static_cast<size_t>(owner_idx)].block.reserve<std::byte>(
          forward.plan.arena.num_bytes)) {
  const ArenaLayout& layout = forward.plan.arena;
  input_ids_ = reinterpret_cast<int32_t*>(arena_ + layout.ids);
  position_ids_ = input_ids_ + layout.num_rows;
  token_type_ids_ = position_ids_ + layout.num_rows;
}

RowScale* BlockRun::row_scales(int64_t row) const {
  if (forward_.weights.precision != Precision::kI8) return nullptr;
  return reinterpret_cast<RowScale*>(arena_ + forward_.plan.arena.row_scales) + row;
}

void BlockRun::run(ThreadPool& pool, const ActivationTaps* taps) {
  gather_ids();
  for (const Stage& stage : block_.stages) {
    const auto chunk = [&](int64_t chunk_idx, int worker_idx) {
      run_chunk({stage, chunk_idx, forward_.workers[static_cast<size_t>(worker_idx)]}, taps);
    };
    // By reference: a std::function holds it without allocating.
    pool.parallel_for(stage.num_chunks, owner_idx_, std::ref(chunk));
  }
}

void BlockRun::gather_ids() {
  const Batch& batch = forward_.batch;
  int64_t row = 0;
  for (const Segment& segment : block_.segments) {
    for (const int32_t sequence : segment.sequences) {
      const int32_t begin = batch.cu_seqlens[static_cast<size_t>(sequence)];
      const int32_t num_rows = batch.cu_seqlens[static_cast<size_t>(sequence) + 1] - begin;
      std::copy_n(batch.input_ids.data() + begin, num_rows, input_ids_ + row);
      std::copy_n(batch.token_type_ids.data() + begin, num_rows, token_type_ids_ + row);
      for (int32_t i = 0; i < num_rows; ++i) position_ids_[row + i] = i;
      row += num_rows;
    }
  }
}

void BlockRun::run_chunk(const Chunk& chunk, const ActivationTaps* taps) {
  for (int32_t i = chunk.stage.step_begin; i < chunk.stage.step_end; ++i) {
    if (forward_.aborted != nullptr && forward_.aborted->load(std::memory_order_relaxed)) {
      fail(ErrorCode::kCallAborted, {.expected = "a call that runs to its end",
                                     .subject = "the forward",
                                     .received = "an abort signal",
                                     .remedy = ""});
    }
    const PlanStep& step = forward_.plan.steps[static_cast<size_t>(i)];
    run_step(step, chunk);
    if (taps != nullptr) tap(step, *taps);
  }
}

void BlockRun::run_step(const PlanStep& step, const Chunk& chunk) {
  const LayerWeights& layer = forward_.weights.layers[static_cast<size_t>(step.layer)];
  const ArenaLayout& arena = forward_.plan.arena;
  const KernelTable& kernels = forward_.kernels;
  switch (step.op) {
    case StepOp::kEmbedding:
      return embedding(chunk);
    case StepOp::kQkvProj:
      return linear(step, {.weight = layer.qkv_proj, .x = arena.hidden_operand, .y = arena.qkv}, chunk);
    case StepOp::kAttention:
      return forward_.weights.precision == Precision::kF32
                 ? attention(step.layer, chunk, kernels.attention_forward)
                 : attention(step.layer, chunk, kernels.attention_bf16_forward);
    case StepOp::kQuantizeContext:
    case StepOp::kQuantizeFfn:
      return quantize(step, chunk);
    case StepOp::kAttnOutProj:
      return linear(step,
                    {.weight = layer.attn_out_proj,
                     .x = arena.context_operand,
                     .y = arena.hidden,
                     .has_residual = true},
                    chunk);
    case StepOp::kAttnLayerNorm:
      return layer_norm(layer.attn_layer_norm, chunk, false);
    case StepOp::kFfnUp:
      return linear(step,
                    {.weight = layer.ffn_up,
                     .x = arena.hidden_operand,
                     .y = arena.ffn,
                     .activation = Activation::kGelu},
                    chunk);
    case StepOp::kFfnDown:
      return linear(
          step, {.weight = layer.ffn_down, .x = arena.ffn_operand, .y = arena.hidden, .has_residual = true},
          chunk);
    case StepOp::kFfnLayerNorm:
      return layer_norm(layer.ffn_layer_norm, chunk, step.layer + 1 == forward_.weights.config.num_layers);
  }
}

void BlockRun::tap(const PlanStep& step, const ActivationTaps& taps) const {
  const EncoderConfig& config = forward_.weights.config;
  const ArenaLayout& arena = forward_.plan.arena;
  ActivationNormArgs args;
  args.num_rows = block_.num_rows;
  if (step.op == StepOp::kAttention) {
    args.x = at<float>(arena.context, 0);
    args.ldx = arena.context.ld;
    args.num_groups = config.num_heads;
    args.group_size = config.head_dim();
    args.sums = taps.heads + step.layer * config.num_heads;
  } else if (step.op == StepOp::kFfnUp) {
    args.x = at<float>(arena.ffn, 0);
    args.ldx = arena.ffn.ld;
    args.num_groups = config.intermediate_size;
    args.group_size = 1;
    args.sums = taps.neurons + step.layer * config.intermediate_size;
  } else {
    return;
  }
  forward_.kernels.activation_norm_accumulate(args);
}

Range BlockRun::rows_of(const Chunk& chunk) const {
  if (chunk.stage.split != Split::kRows) return {0, block_.num_rows};
  return chunk_range(block_.num_rows, 1, chunk.stage.num_chunks, chunk.chunk_idx);
}

OperandRows BlockRun::hidden_operand(int64_t row) const {
  const Precision precision = forward_.weights.precision;
  if (precision == Precision::kF32) return {};
  const Region& region = forward_.plan.arena.hidden_operand;
  return {.precision = precision, .data = at<void>(region, row), .scales = row_scales(row), .ld = region.ld};
}

void BlockRun::embedding(const Chunk& chunk) {
  const ModelWeights& weights = forward_.weights;
  const Region& hidden = forward_.plan.arena.hidden;
  const Range rows = rows_of(chunk);
  if (rows.size() == 0) return;
  EmbeddingArgs args;
  args.word = table(weights.word_embeddings);
  args.position = table(weights.position_embeddings);
  args.token_type = table(weights.token_type_embeddings);
  args.input_ids = input_ids_ + rows.begin;
  args.position_ids = position_ids_ + rows.begin;
  args.token_type_ids = token_type_ids_ + rows.begin;
  args.gamma = weights.embedding_layer_norm.gamma.data();
  args.beta = weights.embedding_layer_norm.beta.data();
  args.y = at<float>(hidden, rows.begin);
  args.operand = hidden_operand(rows.begin);
  args.num_rows = rows.size();
  args.hidden_size = weights.config.hidden_size;
  args.ldy = hidden.ld;
  args.eps = weights.config.layer_norm_eps;
  forward_.kernels.embedding_forward(args);
}

// No linear layer reads the last hidden states.
void BlockRun::layer_norm(const LayerNormWeights& weights, const Chunk& chunk, bool is_last) {
  const Region& hidden = forward_.plan.arena.hidden;
  const Range rows = rows_of(chunk);
  if (rows.size() == 0) return;
  LayerNormArgs args;
  args.x = at<float>(hidden, rows.begin);
  args.gamma = weights.gamma.data();
  args.beta = weights.beta.data();
  args.y = at<float>(hidden, rows.begin);
  if (!is_last) args.operand = hidden_operand(rows.begin);
  args.num_rows = rows.size();
  args.hidden_size = forward_.weights.config.hidden_size;
  args.ldx = hidden.ld;
  args.ldy = hidden.ld;
  args.eps = forward_.weights.config.layer_norm_eps;
  forward_.kernels.layer_norm_forward(args);
}

template <typename Element>
void BlockRun::attention(int32_t layer, const Chunk& chunk, void (*kernel)(const AttentionArgsOf<Element>&)) {
  const EncoderConfig& config = forward_.weights.config;
  const ArenaLayout& arena = forward_.plan.arena;
  AttentionArgsOf<Element> args;
  args.scratch = chunk.worker.attention.reserve<float>(forward_.attention_floats);
  args.head_stride = arena.qkv_head_stride;
  args.ldqkv = arena.qkv.ld;
  args.ldcontext = arena.context.ld;
  args.head_dim = config.head_dim();
  args.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim()));
  for_each_part(layer, chunk, [&](const AttentionPart& part) {
    args.qkv = at<Element>(arena.qkv, part.row_begin);
    args.context = at<Element>(arena.context, part.row_begin);
    args.num_rows = part.num_rows;
    args.head_begin = part.heads.begin;
    args.head_end = part.heads.end;
    args.query_begin = part.queries.begin;
    args.query_end = part.queries.end;
    kernel(args);
  });
}

// The chunks divide the rows of all kept heads' contexts by cost: a sequence of S rows with h heads has h * S
// rows of cost S.
template <typename Visit>
void BlockRun::for_each_part(int32_t layer, const Chunk& chunk, const Visit& visit) const {
  const auto for_each_sequence = [&](auto&& visit_sequence) {
    for (const Segment& segment : block_.segments) {
      const int64_t num_heads = runs_of(segment).num_heads(layer);
      int64_t row = segment.row_begin;
      for (const int32_t sequence : segment.sequences) {
        const auto position = static_cast<size_t>(sequence);
        const int64_t num_rows =
            forward_.batch.cu_seqlens[position + 1] - forward_.batch.cu_seqlens[position];
        if (num_heads > 0) visit_sequence(row, num_rows, num_heads);
        row += num_rows;
      }
    }
  };
  if (chunk.stage.split != Split::kContext) {
    return for_each_sequence([&](int64_t row, int64_t S, int64_t num_heads) {
      visit(AttentionPart{row, S, {0, num_heads}, {0, S}});
    });
  }

  int64_t total_cost = 0;
  for_each_sequence([&](int64_t, int64_t S, int64_t num_heads) { total_cost += num_heads * S * S; });
  int64_t cost = 0;
  for_each_sequence([&](int64_t row, int64_t S, int64_t num_heads) {
    const auto visit_heads = [&](const Range& heads, const Range& queries) {
      if (heads.size() > 0 && queries.size() > 0) visit(AttentionPart{row, S, heads, queries});
    };
    // The bound between two chunks in this sequence, in rows of all its heads.
    const auto bound = [&](int64_t chunk_idx) {
      const int64_t rows = (total_cost * chunk_idx / chunk.stage.num_chunks - cost) / S;
      if (rows <= 0 || rows >= num_heads * S) return std::clamp(rows, int64_t{0}, num_heads * S);
      const int64_t query = (rows % S + kQueryGranularity / 2) / kQueryGranularity * kQueryGranularity;
      return rows / S * S + std::min(query, S);
    };
    const int64_t begin = bound(chunk.chunk_idx);
    const int64_t end = bound(chunk.chunk_idx + 1);
    cost += num_heads * S * S;
    if (begin >= end) return;
    const Range heads = {begin / S, end / S};
    if (heads.size() == 0) return visit_heads({heads.begin, heads.begin + 1}, {begin % S, end % S});
    // The rest of the first head, whole heads, the start of the last one.
    const int64_t first_whole = (begin + S - 1) / S;
    if (begin % S != 0) visit_heads({heads.begin, heads.begin + 1}, {begin % S, S});
    visit_heads({first_whole, heads.end}, {0, S});
    visit_heads({heads.end, heads.end + 1}, {0, end % S});
  });
}

// Context or ffn to the operand of the linear layer that follows.
void BlockRun::quantize(const PlanStep& step, const Chunk& chunk) {
  const ArenaLayout& arena = forward_.plan.arena;
  const bool is_context = step.op == StepOp::kQuantizeContext;
  const Region& from = is_context ? arena.context : arena.ffn;
  const Region& to = is_context ? arena.context_operand : arena.ffn_operand;
  const Range rows = rows_of(chunk);
  for (const Segment& segment : block_.segments) {
    const StructureRuns& runs = runs_of(segment);
    const int64_t num_columns = is_context ? runs.num_heads(step.layer) * forward_.weights.config.head_dim()
                                           : runs.num_neurons(step.layer);
    const int64_t begin = std::max(segment.row_begin, rows.begin);
    const int64_t end = std::min(segment.row_begin + segment.num_rows, rows.end);
    if (begin >= end || num_columns == 0) continue;
    QuantizeArgs args;
    args.x = at<const BF16>(from, begin);
    args.y = {
        .precision = Precision::kI8, .data = at<void>(to, begin), .scales = row_scales(begin), .ld = to.ld};
    args.num_rows = end - begin;
    args.num_columns = num_columns;
    args.ldx = from.ld;
    forward_.kernels.quantize_forward(args);
  }
}

// The weight blocks of a chunk's panels: bounds lie between panels where the rows times columns before them
// reach the chunk's share, all segments counted, so that segments of different structures stay together in a
// pass.
Range BlockRun::panel_blocks(const PlanStep& step, const Chunk& chunk) const {
  const auto work_before = [&](int64_t block) {
    int64_t work = 0;
    for (const Segment& segment : block_.segments) {
      const KeptRuns kept = kept_runs(runs_of(segment), step);
      if (!kept.depth.empty()) work += segment.num_rows * blocks_before(kept.columns, block);
    }
    return work;
  };
  int64_t num_panels = 0;
  for (const Segment& segment : block_.segments) {
    const KeptRuns kept = kept_runs(runs_of(segment), step);
    if (kept.columns.empty()) continue;
    const ColumnRun& last = kept.columns.back();
    num_panels = std::max(num_panels, (last.block_begin + last.num_blocks + kPanelBlocks - 1) / kPanelBlocks);
  }
  const int64_t total = work_before(num_panels * kPanelBlocks);
  const auto bound = [&](int64_t chunk_idx) {
    const int64_t share = total * chunk_idx / chunk.stage.num_chunks;
    int64_t low = 0;
    int64_t high = num_panels;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (work_before(middle * kPanelBlocks) >= share) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low * kPanelBlocks;
  };
  if (chunk.chunk_idx + 1 == chunk.stage.num_chunks)
    return {bound(chunk.chunk_idx), num_panels * kPanelBlocks};
  return {bound(chunk.chunk_idx), bound(chunk.chunk_idx + 1)};
}

void BlockRun::linear(const PlanStep& step, const Linear& linear, const Chunk& chunk) {
  Worker& worker = chunk.worker;
  worker.groups.clear();
  worker.columns.clear();
  const bool by_panels = chunk.stage.split == Split::kPanels;
  const Range rows = rows_of(chunk);
  const Range blocks = by_panels ? panel_blocks(step, chunk) : Range{};
  if (by_panels) {
    size_t num_runs = 0;
    for (const Segment& segment : block_.segments) {
      num_runs += kept_runs(runs_of(segment), step).columns.size();
    }
    worker.columns.reserve(num_runs);  // the groups point into it
  }
  for (const Segment& segment : block_.segments) {
    KeptRuns kept = kept_runs(runs_of(segment), step);
    if (by_panels) {
      const size_t first = worker.columns.size();
      append_clipped(kept.columns, blocks, worker.columns);
      kept.columns = std::span<const ColumnRun>(worker.columns).subspan(first);
    }
    const int64_t begin = std::max(segment.row_begin, rows.begin);
    const int64_t end = std::min(segment.row_begin + segment.num_rows, rows.end);
    if (begin >= end || kept.columns.empty() || kept.depth.empty()) continue;
    RowGroup group;
    group.x = at<const void>(linear.x, begin);
    group.scales = row_scales(begin);
    group.y = at<void>(linear.y, begin);
    group.residual = linear.has_residual ? at<const float>(linear.y, begin) : nullptr;
    group.num_rows = end - begin;
    group.ldx = linear.x.ld;
    group.ldy = linear.y.ld;
    group.columns = kept.columns;
    group.depth = kept.depth;
    worker.groups.push_back(group);
  }
  if (worker.groups.empty()) return;
  const bool writes_f32 = linear.y.element_bytes == sizeof(float);
  forward_.kernels.linear_forward(forward_.weights.precision)(
      {.weight = linear.weight.view(),
       .activation = linear.activation,
       .y_type = writes_f32 ? OutputType::kF32 : OutputType::kBF16,
       .groups = worker.groups});
}

}  // namespace elasticlm
