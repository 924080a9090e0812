// Gradients of parameters: sums over the batch.
#include <algorithm>

#include "train/pass_run.h"

namespace elasticlm {
namespace {

// Rows of depth that one product takes at once: a panel of 48 columns is 192 KB of f32 then and shares a
// core's cache of 1 MB with the transposed rows. Parts are added in rising order. Whole words of every
// precision.
constexpr int64_t kPartRows = 1024;

// Rows of a weight's gradient that one chunk computes: their transposed operand, 64 x 1024 floats, is 256 KB.
constexpr int64_t kOutputRows = 64;

// Columns of one chunk of a sum over rows: 512 neighbouring bytes of each row.
constexpr int64_t kSumColumns = 128;

// visit(begin, end) for ranges of `step` that cover [0, count).
template <typename Visit>
void for_each_range(int64_t count, int64_t step, const Visit& visit) {
  for (int64_t begin = 0; begin < count; begin += step) visit(begin, std::min(begin + step, count));
}

}  // namespace

// gradient[n, e] += Σ over rows of a[row, n] * b[row, e]: a holds what is kept, b the E columns.
struct PassRun::WeightGradient {
  struct Source {
    KeptMatrix rows;
    int64_t width = 0;
  };
  std::vector<Source> a;  // by SubLM, of falling width
  PackedMatrixView b;     // columns E, the rows of all SubLMs as depth

  int64_t width() const { return a.empty() ? 0 : a.front().width; }
};

// Rows [begin, end) of a weight gradient.
struct PassRun::OutputRows {
  const WeightGradient& product;
  int64_t begin;
  int64_t end;
  float* gradient;  // [end - begin, E]
};

// Columns [begin, end) of a, at some of the depth.
struct PassRun::TransposedPart {
  const WeightGradient& product;
  int64_t begin;
  int64_t end;
  int64_t depth_begin;
  int64_t depth_end;
};

// A matrix [num_rows, E] that becomes depth.
struct PassRun::DepthRows {
  const float* rows;
  int64_t num_rows;
};

PackedMatrixView PassRun::depth_packing(size_t place, int64_t num_rows) const {
  PackedMatrixView view;
  view.words = layout_.depth_packing(place);
  view.precision = weights_.precision;
  view.K = num_rows;
  view.num_blocks = num_blocks_of(layout_.hidden_size());
  return view;
}

void PassRun::add_weight_gradients(int64_t l, const Backward& pass) {
  const LayerPass& saved = layer(l);
  const BackwardRows& rows = layout_.backward();
  const LayerSlots& at = slots(l);
  const int64_t num_rows = layout_.num_rows();
  const int64_t attention_rows = saved.num_attention_subs * layout_.row_stride();

  WeightGradient qkv{.a = {}, .b = depth_packing(0, attention_rows)};
  WeightGradient attn_out{.a = {}, .b = depth_packing(1, num_rows)};
  WeightGradient ffn_up{.a = {}, .b = depth_packing(2, num_rows)};
  WeightGradient ffn_down{.a = {}, .b = depth_packing(3, num_rows)};
  for (const SubLayer& sub : saved.subs) {
    if (static_cast<int64_t>(qkv.a.size()) < saved.num_attention_subs)
      qkv.a.push_back({sub.d_qkv, sub.qkv_depth.k_count});
    attn_out.a.push_back({sub.context, sub.context_depth.k_count});
    ffn_up.a.push_back({sub.d_ffn, sub.num_neurons});
    ffn_down.a.push_back({sub.ffn, sub.num_neurons});
  }
  pack_depth(pass.threads, {{saved.x0.data, attention_rows},
                            {rows.d_attn_sum.data, num_rows},
                            {saved.x1.data, num_rows},
                            {rows.d_ffn_sum.data, num_rows}});

  std::vector<OutputRows> outputs;
  add_outputs({ffn_up, 0, ffn_up.width(), pass.gradients.at(at.ffn_up)}, outputs);
  add_outputs({ffn_down, 0, ffn_down.width(), pass.gradients.at(at.ffn_down_t)}, outputs);
  add_outputs({attn_out, 0, attn_out.width(), pass.gradients.at(at.attn_out_t)}, outputs);
  for_each_qkv_run(saved, [&](int64_t begin, int64_t end, int64_t row) {
    add_outputs({qkv, begin, end, pass.gradients.at(at.qkv) + row * layout_.hidden_size()}, outputs);
  });
  const Sums sums = layer_sums(l, pass);
  const auto num_outputs = static_cast<int64_t>(outputs.size());
  for_each_chunk(pass.threads, num_outputs + static_cast<int64_t>(sums.size()),
                 [&](int64_t i, int worker_idx) {
                   if (i < num_outputs) {
                     add_product(outputs[static_cast<size_t>(i)], worker(worker_idx));
                   } else {
                     sums[static_cast<size_t>(i - num_outputs)]();
                   }
                 });
}

void PassRun::add_outputs(const OutputRows& all, std::vector<OutputRows>& outputs) const {
  for_each_range(all.end - all.begin, kOutputRows, [&](int64_t begin, int64_t end) {
    outputs.push_back(
        {all.product, all.begin + begin, all.begin + end, all.gradient + begin * layout_.hidden_size()});
  });
}

// visit(begin, end, row): columns [begin, end) of q | k | v are rows from `row` on of the parameters, which
// have no padding.
template <typename Visit>
void PassRun::for_each_qkv_run(const LayerPass& saved, const Visit& visit) const {
  const int64_t kept = 3 * layout_.head_dim();
  const int64_t num_heads = saved.subs.front().num_heads;
  if (layout_.head_columns() == kept) {
    visit(int64_t{0}, num_heads * kept, int64_t{0});
    return;
  }
  for (int64_t h = 0; h < num_heads; ++h) {
    const int64_t begin = h * layout_.head_columns();
    visit(begin, begin + kept, h * kept);
  }
}

void PassRun::pack_depth(const TrainThreads& threads, const DepthRows (&matrices)[kNumDepthPackings]) const {
  const int64_t num_panels = (num_blocks_of(layout_.hidden_size()) + kPanelBlocks - 1) / kPanelBlocks;
  for_each_chunk(threads, static_cast<int64_t>(kNumDepthPackings) * num_panels, [&](int64_t i, int) {
    const auto place = static_cast<size_t>(i / num_panels);
    training_.pack_depth_rows({.x = matrices[place].rows,
                               .words = layout_.depth_packing(place),
                               .precision = weights_.precision,
                               .N = layout_.hidden_size(),
                               .K = matrices[place].num_rows,
                               .ldx = layout_.ld_hidden(),
                               .panel_begin = i % num_panels,
                               .panel_end = i % num_panels + 1});
  });
}

// Depth of a row that the first k SubLMs keep: their rows, one after the other.
void PassRun::add_product(const OutputRows& output, Worker& own) const {
  const WeightGradient& product = output.product;
  const int64_t E = layout_.hidden_size();
  const int64_t stride = layout_.row_stride();
  const int64_t num_outputs = output.end - output.begin;
  const int64_t transposed_floats = num_outputs * kPartRows;
  // Whole blocks are written: where E is none, they would reach into the next row.
  const bool is_staged = layout_.ld_hidden() != E;
  float* const scratch =
      own.scratch.reserve<float>(transposed_floats + (is_staged ? num_outputs * layout_.ld_hidden() : 0));
  float* y = output.gradient;
  int64_t ldy = E;
  if (is_staged) {
    y = scratch + transposed_floats;
    ldy = layout_.ld_hidden();
    for (int64_t n = 0; n < num_outputs; ++n) std::copy_n(output.gradient + n * E, E, y + n * ldy);
  }

  std::vector<KRun> depth(product.a.size());
  for (int64_t part = 0; part < product.b.K; part += kPartRows) {
    own.groups.clear();
    for (size_t k = product.a.size(); k > 0; --k) {
      const int64_t narrower = k < product.a.size() ? product.a[k].width : 0;
      const int64_t begin = std::max(output.begin, narrower);
      const int64_t end = std::min(output.end, product.a[k - 1].width);
      const int64_t part_end = std::min(part + kPartRows, static_cast<int64_t>(k) * stride);
      if (begin >= end || part >= part_end) continue;
      depth[k - 1] = {part, part_end - part};
      std::byte* const transposed = reinterpret_cast<std::byte*>(scratch) +
                                    (begin - output.begin) * kPartRows * element_bytes(weights_.precision);
      transpose({product, begin, end, part, part_end}, transposed);
      RowGroup group;
      group.x = transposed;
      group.ldx = kPartRows;
      group.y = y + (begin - output.begin) * ldy;
      group.residual = y + (begin - output.begin) * ldy;
      group.ldy = ldy;
      group.num_rows = end - begin;
      group.columns = {&hidden_columns_, 1};
      group.depth = {&depth[k - 1], 1};
      own.groups.push_back(group);
    }
    multiply(product.b, own.groups);
  }
  if (is_staged) {
    for (int64_t n = 0; n < num_outputs; ++n) std::copy_n(y + n * ldy, E, output.gradient + n * E);
  }
}

// Columns of a as rows, ld kPartRows.
void PassRun::transpose(const TransposedPart& part, std::byte* to) const {
  const int64_t stride = layout_.row_stride();
  for (int64_t i = part.depth_begin / stride; i * stride < part.depth_end; ++i) {
    const int64_t first = std::max<int64_t>(part.depth_begin - i * stride, 0);
    const int64_t last = std::min(part.depth_end - i * stride, layout_.num_tokens());
    if (first >= last) continue;
    const KeptMatrix& a = part.product.a[static_cast<size_t>(i)].rows;
    training_.transpose_rows(
        {.x = a.row(first) + part.begin,
         .y = to + (i * stride + first - part.depth_begin) * element_bytes(weights_.precision),
         .precision = weights_.precision,
         .num_rows = last - first,
         .num_columns = part.end - part.begin,
         .ldx = a.ld,
         .ldy = kPartRows});
  }
}

// Rows of one SubLM whose columns are summed.
struct PassRun::SumSource {
  const float* rows;
  int64_t ld;
  int64_t num_columns;
};

void PassRun::add_bias_sums(const std::vector<SumSource>& sources, float* gradient, Sums& sums) const {
  if (sources.empty()) return;
  for_each_range(sources.front().num_columns, kSumColumns, [&](int64_t begin, int64_t end) {
    sums.push_back([this, sources, gradient, begin, end] {
      for (const SumSource& source : sources) {
        if (begin >= source.num_columns) break;
        training_.column_sums({.x = source.rows,
                               .sums = gradient,
                               .num_rows = layout_.num_tokens(),
                               .column_begin = begin,
                               .column_end = std::min(end, source.num_columns),
                               .ldx = source.ld});
      }
    });
  });
}

void PassRun::add_norm_sums(const LayerNormSlots& slots, const NormRows& rows, int64_t num_subs,
                            const SumTarget& to) const {
  float* const dgamma = to.gradients.at(slots.gamma);
  float* const dbeta = to.gradients.at(slots.beta);
  for_each_range(layout_.hidden_size(), kSumColumns, [&](int64_t begin, int64_t end) {
    to.sums.push_back([this, rows, num_subs, dgamma, dbeta, begin, end] {
      for (int64_t sub = 0; sub < num_subs; ++sub) {
        training_.layer_norm_parameter_backward({.x = rows.x.row(sub, 0),
                                                 .dy = rows.dy.row(sub, 0),
                                                 .mean = rows.mean + sub * layout_.row_stride(),
                                                 .rstd = rows.rstd + sub * layout_.row_stride(),
                                                 .dgamma = dgamma,
                                                 .dbeta = dbeta,
                                                 .num_rows = layout_.num_tokens(),
                                                 .column_begin = begin,
                                                 .column_end = end,
                                                 .ldx = rows.x.ld,
                                                 .lddy = rows.dy.ld});
      }
    });
  });
}

void PassRun::add_mask_sums(int64_t l, MaskGradients& masks, Sums& sums) const {
  const SubLayer& sub = layer(l).subs.front();
  double* const heads = masks.heads.data() + l * config().num_heads;
  double* const neurons = masks.neurons.data() + l * config().intermediate_size;
  const auto add = [&](const ColumnDotsArgs& all, int64_t num_groups) {
    for_each_range(num_groups, std::max<int64_t>(1, kSumColumns / all.group_size),
                   [&](int64_t begin, int64_t end) {
                     ColumnDotsArgs args = all;
                     args.x += begin * all.group_size;
                     args.y += begin * all.group_size;
                     args.sums += begin;
                     args.num_groups = end - begin;
                     sums.push_back([this, args] { training_.column_dots(args); });
                   });
  };
  ColumnDotsArgs dots{.x = sub.context.data,
                      .y = sub.d_context.data,
                      .sums = heads,
                      .num_rows = layout_.num_tokens(),
                      .group_size = layout_.head_dim(),
                      .ldx = sub.context.ld,
                      .ldy = sub.d_context.ld};
  add(dots, sub.num_heads);
  dots.x = sub.ffn.data;
  dots.y = d_activations_;
  dots.sums = neurons;
  dots.group_size = 1;
  dots.ldx = sub.ffn.ld;
  dots.ldy = sub.d_ffn.ld;
  add(dots, sub.num_neurons);
}

PassRun::Sums PassRun::layer_sums(int64_t l, const Backward& pass) const {
  const LayerPass& saved = layer(l);
  const BackwardRows& rows = layout_.backward();
  const LayerSlots& at = slots(l);
  Sums sums;
  add_norm_sums(at.ffn_layer_norm, {saved.ffn_sum, pass.d_x2, rows.ffn_mean, rows.ffn_rstd},
                layout_.num_subs(), {pass.gradients, sums});
  add_norm_sums(at.attn_layer_norm, {saved.attn_sum, rows.d_x1, rows.attn_mean, rows.attn_rstd},
                layout_.num_subs(), {pass.gradients, sums});

  std::vector<SumSource> ffn_down;
  std::vector<SumSource> ffn_up;
  std::vector<SumSource> attn_out;
  std::vector<SumSource> qkv;
  for (int64_t i = 0; i < layout_.num_subs(); ++i) {
    const SubLayer& sub = saved.sub(i);
    if (sub.num_neurons > 0) {
      ffn_down.push_back({rows.d_ffn_sum.row(i, 0), rows.d_ffn_sum.ld, layout_.hidden_size()});
      ffn_up.push_back({sub.d_ffn.data, sub.d_ffn.ld, sub.num_neurons});
    }
    if (sub.num_heads == 0) continue;
    attn_out.push_back({rows.d_attn_sum.row(i, 0), rows.d_attn_sum.ld, layout_.hidden_size()});
    if (i < saved.num_attention_subs) qkv.push_back({sub.d_qkv.data, sub.d_qkv.ld, sub.qkv_depth.k_count});
  }
  add_bias_sums(ffn_down, pass.gradients.at(at.ffn_down_bias), sums);
  add_bias_sums(ffn_up, pass.gradients.at(at.ffn_up_bias), sums);
  add_bias_sums(attn_out, pass.gradients.at(at.attn_out_bias), sums);
  for_each_qkv_run(saved, [&](int64_t begin, int64_t end, int64_t row) {
    std::vector<SumSource> run;
    for (const SumSource& source : qkv) {
      const int64_t width = std::min(end, source.num_columns) - begin;
      if (width > 0) run.push_back({source.rows + begin, source.ld, width});
    }
    add_bias_sums(run, pass.gradients.at(at.qkv_bias) + row, sums);
  });
  if (pass.masks != nullptr) add_mask_sums(l, *pass.masks, sums);
  return sums;
}

void PassRun::add_embedding_gradients(const Backward& pass) const {
  const ParameterLayout& parameters = weights_.parameters.layout();
  const BackwardRows& rows = layout_.backward();
  Sums sums;
  add_norm_sums(parameters.embedding_layer_norm,
                {layout_.embedding_sum(), pass.d_x2, rows.ffn_mean, rows.ffn_rstd}, 1,
                {pass.gradients, sums});
  const struct {
    const ParameterSlot& slot;
    const int32_t* ids;
  } tables[] = {{parameters.word_embeddings, batch_.input_ids.data()},
                {parameters.position_embeddings, position_ids_.data()},
                {parameters.token_type_embeddings, batch_.token_type_ids.data()}};
  for (const auto& [slot, ids] : tables) {
    EmbeddingBackwardArgs args{.ids = ids,
                               .dy = rows.d_ffn_sum.data,
                               .dtable = pass.gradients.at(slot),
                               .num_rows = layout_.num_tokens(),
                               .hidden_size = layout_.hidden_size(),
                               .lddy = rows.d_ffn_sum.ld};
    for_each_range(layout_.hidden_size(), kSumColumns, [&](int64_t begin, int64_t end) {
      args.column_begin = begin;
      args.column_end = end;
      sums.push_back([this, args] { training_.embedding_backward(args); });
    });
  }
  for_each_chunk(pass.threads, static_cast<int64_t>(sums.size()),
                 [&](int64_t i, int) { sums[static_cast<size_t>(i)](); });
}

}  // namespace elasticlm
