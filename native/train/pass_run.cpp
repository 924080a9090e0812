#include "train/pass_run.h"

#include <algorithm>
#include <cmath>

namespace elasticlm {
namespace {

// Parts of attention per thread: more of them balance better, fewer share a head's preparation among more
// rows.
constexpr int64_t kAttentionPartsPerThread = 8;

}  // namespace

PassRun::PassRun(const PackedWeights& weights, Saving saving)
    : weights_(weights),
      saving_(saving),
      kernels_(kernel_table(weights.isa)),
      training_(training_kernels(weights.isa)),
      hidden_columns_{0, num_blocks_of(weights.parameters.layout().config.hidden_size), 0},
      hidden_depth_{0, weights.parameters.layout().config.hidden_size} {}

void PassRun::reserve_workers(const TrainThreads& threads) {
  while (workers_.size() < static_cast<size_t>(threads.pool.num_threads())) workers_.emplace_back();
}

std::vector<PassRun::AttentionItem> PassRun::attention_items(int64_t l, const TrainThreads& threads) const {
  const auto work_of = [](int64_t num_rows) { return num_rows * num_rows; };
  const LayerPass& pass = layer(l);
  const std::span<const SubLayer> subs(pass.subs.data(), static_cast<size_t>(pass.num_attention_subs));
  int64_t num_heads = 0;
  for (const SubLayer& sub : subs) num_heads += sub.num_heads;
  int64_t total = 0;
  for (int64_t i = 0; i < batch_.num_sequences(); ++i) {
    const auto at = static_cast<size_t>(i);
    total += num_heads * work_of(batch_.cu_seqlens[at + 1] - batch_.cu_seqlens[at]);
  }
  const int64_t share = total / (threads.pool.num_threads() * kAttentionPartsPerThread);

  std::vector<AttentionItem> items;
  for (size_t s = 0; s < subs.size(); ++s) {
    for (int64_t i = 0; i < batch_.num_sequences(); ++i) {
      const int64_t first = batch_.cu_seqlens[static_cast<size_t>(i)];
      const int64_t num_rows = batch_.cu_seqlens[static_cast<size_t>(i) + 1] - first;
      const int64_t step = std::max<int64_t>(1, share / work_of(num_rows));
      for (int64_t head = 0; head < subs[s].num_heads; head += step) {
        items.push_back(
            {static_cast<int64_t>(s), first, num_rows, head, std::min(head + step, subs[s].num_heads)});
      }
    }
  }
  return items;
}

std::vector<PassRun::Part> PassRun::parts_of(int64_t begin, int64_t end) const {
  const int64_t T = layout_.num_tokens();
  std::vector<Part> parts;
  for (int64_t row = begin; row < end;) {
    const int64_t sub = row / T;
    const int64_t part_end = std::min(end, (sub + 1) * T);
    parts.push_back({sub, row - sub * T, part_end - row, row - begin});
    row = part_end;
  }
  return parts;
}

float PassRun::attention_scale() const { return 1.0f / std::sqrt(static_cast<float>(layout_.head_dim())); }

PassRun::Operand PassRun::operand(const Rows& rows, float* scratch, int64_t scratch_ld) const {
  if (weights_.precision == Precision::kF32) return {rows.x, rows.ld};
  BF16* const rounded = reinterpret_cast<BF16*>(scratch);
  training_.round_rows({.x = rows.x,
                        .y = rounded,
                        .num_rows = rows.num_rows,
                        .num_columns = rows.num_columns,
                        .ldx = rows.ld,
                        .ldy = scratch_ld});
  return {rounded, scratch_ld};
}

PassRun::Operand PassRun::hidden_operand(const RowMatrix& rows, const Part& part,
                                         const RowChunk& chunk) const {
  return operand({rows.row(part.sub, part.first), rows.ld, part.num_rows, layout_.hidden_size()},
                 narrow_scratch(part, chunk), layout_.ld_hidden());
}

PassRun::Operand PassRun::wide_operand(const KeptMatrix& rows, int64_t num_columns, const Part& part,
                                       const RowChunk& chunk) const {
  return operand({rows.row(part.first), rows.ld, part.num_rows, num_columns}, wide_scratch(part, chunk),
                 layout_.widest());
}

RowGroup PassRun::kept_group(const Part& part, const Operand& x, const KeptMatrix& y,
                             const ColumnRun& columns) const {
  RowGroup group;
  group.x = x.x;
  group.ldx = x.ld;
  group.y = y.row(part.first);
  group.ldy = y.ld;
  group.num_rows = part.num_rows;
  group.columns = {&columns, 1};
  group.depth = {&hidden_depth_, 1};
  return group;
}

RowGroup PassRun::hidden_group(const Part& part, const Operand& x, const KRun& depth,
                               const HiddenSum& sum) const {
  RowGroup group;
  group.x = x.x;
  group.ldx = x.ld;
  group.y = sum.y.row(part.sub, part.first);
  group.residual = sum.residual.row(part.sub, part.first);
  group.ldy = sum.y.ld;
  group.num_rows = part.num_rows;
  group.columns = {&hidden_columns_, 1};
  group.depth = {&depth, 1};
  return group;
}

void PassRun::multiply(const PackedMatrixView& weight, std::span<const RowGroup> groups) const {
  if (groups.empty()) return;
  LinearArgs args;
  args.weight = weight;
  args.groups = groups;
  kernels_.linear_forward(weights_.precision)(args);
}

void PassRun::normalize(const LayerNormSlots& slots, const Part& part, const RowMatrix& x,
                        const RowMatrix& y) const {
  LayerNormArgs args;
  args.x = x.row(part.sub, part.first);
  args.gamma = parameter(slots.gamma);
  args.beta = parameter(slots.beta);
  args.y = y.row(part.sub, part.first);
  args.num_rows = part.num_rows;
  args.hidden_size = layout_.hidden_size();
  args.ldx = x.ld;
  args.ldy = y.ld;
  args.eps = config().layer_norm_eps;
  kernels_.layer_norm_forward(args);
}

void PassRun::copy_rows(const RowMatrix& from, const RowMatrix& to, const Part& part) const {
  for (int64_t r = part.first; r < part.first + part.num_rows; ++r)
    std::copy_n(from.row(part.sub, r), layout_.hidden_size(), to.row(part.sub, r));
}

// Rows between two SubLMs are depth of the gradients of weights, where zeros of the other operand meet them.
void PassRun::clear_padding(const RowMatrix& rows) const {
  for (int64_t sub = 0; sub < layout_.num_subs(); ++sub) {
    for (int64_t r = layout_.num_tokens(); r < layout_.row_stride(); ++r)
      std::fill_n(rows.row(sub, r), rows.ld, 0.0f);
  }
}

const float* PassRun::last_qkv() const {
  return layout_.head_columns() == 3 * layout_.head_dim() ? layout_.layers().back().subs.front().qkv.data
                                                          : last_qkv_;
}

int64_t PassRun::last_qkv_ld() const { return config().num_heads * 3 * layout_.head_dim(); }

bool PassRun::is_one_full_structure() const {
  return layout_.num_subs() == 1 && std::ranges::all_of(layout_.layers(), [&](const LayerPass& saved) {
           return saved.subs.front().num_heads == config().num_heads &&
                  saved.subs.front().num_neurons == config().intermediate_size;
         });
}

int64_t PassRun::bytes() const {
  int64_t bytes = forward_arena_.bytes() + backward_arena_.bytes() + d_activations_arena_.bytes() +
                  last_qkv_arena_.bytes();
  for (const Worker& worker : workers_) bytes += worker.scratch.bytes();
  return bytes;
}

}  // namespace elasticlm
