#include <algorithm>

#include "train/pass_run.h"

namespace elasticlm {
namespace {

void add_to(float* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

void PassRun::backward(float* d_hidden, ParameterSet& gradients, MaskGradients* masks,
                       const TrainThreads& threads) {
  if (!is_forward_done_) {
    fail(ErrorCode::kInternalFailed, {.expected = "one backward after each forward",
                                      .subject = "the backward of an encoder pass",
                                      .received = "one without a forward",
                                      .remedy = ""});
  }
  is_forward_done_ = false;
  layout_.place_backward(backward_arena_.reserve<float>(layout_.num_backward_floats()));
  clear_padding(layout_.backward().d_ffn_sum);
  clear_padding(layout_.backward().d_attn_sum);
  reserve_workers(threads);
  if (masks != nullptr) {
    masks->heads.resize(static_cast<size_t>(config().num_layers * config().num_heads));
    masks->neurons.resize(static_cast<size_t>(config().num_layers * config().intermediate_size));
    d_activations_ = d_activations_arena_.reserve<float>(layout_.num_tokens() * layout_.widest());
  }
  Backward pass{.d_x2 = {d_hidden, layout_.hidden_size(), layout_.num_tokens()},
                .gradients = gradients,
                .masks = masks,
                .threads = threads};
  for (int64_t l = config().num_layers - 1; l >= 0; --l) {
    const bool is_last = l + 1 == config().num_layers;
    if (saving_ == Saving::kRecompute && !is_last) forward_layer(l, threads);
    backward_layer(l, pass);
    pass.d_x2 = layout_.backward().d_x2;
  }
  backward_embedding(pass);
}

void PassRun::backward_layer(int64_t l, const Backward& pass) {
  const TrainThreads& threads = pass.threads;
  const LayerPass& saved = layer(l);
  for_each_row_chunk(layout_.num_subs(), threads, [&](RowChunk& chunk) { backward_rows(l, pass, chunk); });
  if (saved.num_attention_subs < layout_.num_subs()) sum_shared_context(l, threads);

  const std::vector<AttentionItem> items = attention_items(l, threads);
  const int64_t scratch_floats = training_.attention_backward_scratch_floats(max_seqlen_, layout_.head_dim());
  for_each_chunk(threads, static_cast<int64_t>(items.size()), [&](int64_t i, int worker_idx) {
    backward_attention(l, items[static_cast<size_t>(i)],
                       worker(worker_idx).scratch.reserve<float>(scratch_floats));
  });
  add_weight_gradients(l, pass);
  for_each_row_chunk(saved.num_attention_subs, threads, [&](RowChunk& chunk) { backward_qkv(l, chunk); });
}

void PassRun::backward_layer_norm(const LayerNormSlots& slots, const Part& part, const NormRows& rows,
                                  const RowMatrix& dx) const {
  const int64_t first = part.sub * layout_.row_stride() + part.first;
  training_.layer_norm_backward({.x = rows.x.row(part.sub, part.first),
                                 .gamma = parameter(slots.gamma),
                                 .dy = rows.dy.row(part.sub, part.first),
                                 .dx = dx.row(part.sub, part.first),
                                 .mean = rows.mean + first,
                                 .rstd = rows.rstd + first,
                                 .num_rows = part.num_rows,
                                 .hidden_size = layout_.hidden_size(),
                                 .ldx = rows.x.ld,
                                 .lddy = rows.dy.ld,
                                 .lddx = dx.ld,
                                 .eps = config().layer_norm_eps});
}

// From the layer's output to its context.
void PassRun::backward_rows(int64_t l, const Backward& pass, RowChunk& chunk) {
  const LayerPass& saved = layer(l);
  const BackwardRows& rows = layout_.backward();
  for (const Part& part : chunk.parts) {
    backward_layer_norm(slots(l).ffn_layer_norm, part,
                        {saved.ffn_sum, pass.d_x2, rows.ffn_mean, rows.ffn_rstd}, rows.d_ffn_sum);
  }
  backward_ffn(l, pass, chunk);
  for (const Part& part : chunk.parts) {
    backward_layer_norm(slots(l).attn_layer_norm, part,
                        {saved.attn_sum, rows.d_x1, rows.attn_mean, rows.attn_rstd}, rows.d_attn_sum);
  }
  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = saved.sub(part.sub);
    if (sub.num_heads == 0) continue;
    chunk.groups.push_back(
        kept_group(part, hidden_operand(rows.d_attn_sum, part, chunk), sub.d_context, sub.context_columns));
  }
  multiply(matrices(l).attn_out.by_rows, chunk.groups);
}

// The mask's gradient is made of that of GELU's output, which else becomes that of its input in place.
KeptMatrix PassRun::d_activations(const SubLayer& sub, const Backward& pass) const {
  return pass.masks == nullptr ? sub.d_ffn : KeptMatrix{d_activations_, sub.d_ffn.ld};
}

void PassRun::backward_ffn(int64_t l, const Backward& pass, RowChunk& chunk) {
  const LayerPass& saved = layer(l);
  const BackwardRows& rows = layout_.backward();
  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = saved.sub(part.sub);
    if (sub.num_neurons == 0) continue;
    chunk.groups.push_back(kept_group(part, hidden_operand(rows.d_ffn_sum, part, chunk),
                                      d_activations(sub, pass), sub.ffn_columns));
  }
  multiply(matrices(l).ffn_down.by_rows, chunk.groups);

  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = saved.sub(part.sub);
    if (sub.num_neurons == 0) {
      copy_rows(rows.d_ffn_sum, rows.d_x1, part);
      continue;
    }
    training_.gelu_backward({.x = sub.ffn.row(part.first),
                             .dy = d_activations(sub, pass).row(part.first),
                             .dx = sub.d_ffn.row(part.first),
                             .y = sub.ffn.row(part.first),
                             .num_rows = part.num_rows,
                             .num_columns = sub.num_neurons,
                             .ldx = sub.ffn.ld,
                             .lddy = sub.d_ffn.ld});
    chunk.groups.push_back(hidden_group(part, wide_operand(sub.d_ffn, sub.num_neurons, part, chunk),
                                        sub.ffn_depth, {rows.d_x1, rows.d_ffn_sum}));
  }
  multiply(matrices(l).ffn_up.by_depth, chunk.groups);
}

// Attention is linear in its context's gradient: where SubLMs share one attention, their gradients are summed
// before it.
void PassRun::sum_shared_context(int64_t l, const TrainThreads& threads) {
  const LayerPass& saved = layer(l);
  for_each_row_chunk(1, threads, [&](RowChunk& chunk) {
    for (const Part& part : chunk.parts) {
      for (size_t i = 1; i < saved.subs.size(); ++i) {
        const SubLayer& sub = saved.subs[i];
        for (int64_t r = part.first; r < part.first + part.num_rows; ++r)
          add_to(saved.subs.front().d_context.row(r), sub.d_context.row(r), sub.context_depth.k_count);
      }
    }
  });
}

void PassRun::backward_attention(int64_t l, const AttentionItem& item, float* scratch) const {
  const SubLayer& sub = layer(l).sub(item.sub);
  training_.attention_backward({.qkv = sub.qkv.row(item.first),
                                .dcontext = sub.d_context.row(item.first),
                                .dqkv = sub.d_qkv.row(item.first),
                                .scratch = scratch,
                                .head_stride = layout_.head_columns(),
                                .ldqkv = sub.qkv.ld,
                                .lddcontext = sub.d_context.ld,
                                .num_rows = item.num_rows,
                                .head_dim = layout_.head_dim(),
                                .head_begin = item.head_begin,
                                .head_end = item.head_end,
                                .scale = attention_scale()});
  // The padding of heads is depth of the product that follows.
  const int64_t kept = 3 * layout_.head_dim();
  for (int64_t r = item.first; r < item.first + item.num_rows; ++r) {
    for (int64_t h = item.head_begin; h < item.head_end; ++h) {
      std::fill_n(sub.d_qkv.row(r) + h * layout_.head_columns() + kept, layout_.head_columns() - kept, 0.0f);
    }
  }
}

void PassRun::backward_qkv(int64_t l, RowChunk& chunk) {
  const LayerPass& saved = layer(l);
  const BackwardRows& rows = layout_.backward();
  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = saved.sub(part.sub);
    if (sub.num_heads == 0) {
      copy_rows(rows.d_attn_sum, rows.d_x2, part);
      continue;
    }
    chunk.groups.push_back(hidden_group(part, wide_operand(sub.d_qkv, sub.qkv_depth.k_count, part, chunk),
                                        sub.qkv_depth, {rows.d_x2, rows.d_attn_sum}));
  }
  multiply(matrices(l).qkv.by_depth, chunk.groups);
  // The residuals of the other SubLMs that share the input.
  for (const Part& part : chunk.parts) {
    for (int64_t i = saved.num_attention_subs; i < layout_.num_subs(); ++i) {
      add_to(rows.d_x2.row(part.sub, part.first), rows.d_attn_sum.row(i, part.first),
             part.num_rows * layout_.ld_hidden());
    }
  }
}

// The embeddings are the first SubLM's: what the others want of them has been added to its gradient.
void PassRun::backward_embedding(const Backward& pass) {
  const BackwardRows& rows = layout_.backward();
  const LayerNormSlots& layer_norm = weights_.parameters.layout().embedding_layer_norm;
  for_each_row_chunk(1, pass.threads, [&](RowChunk& chunk) {
    for (const Part& part : chunk.parts) {
      backward_layer_norm(layer_norm, part,
                          {layout_.embedding_sum(), pass.d_x2, rows.ffn_mean, rows.ffn_rstd}, rows.d_ffn_sum);
    }
  });
  add_embedding_gradients(pass);
}

}  // namespace elasticlm
