#include <algorithm>

#include "train/pass_run.h"

namespace elasticlm {
namespace {

// Rows of a chunk: enough that the weights, read once by each chunk from the shared cache, cost little beside
// the products, few enough that its widest activations (64 x 1536 floats: 0.4 MB) stay in the core's own
// cache (2-core Zen 4, 2026-11-24). A small batch gives each thread some chunks of whole register tiles.
constexpr int64_t kMostChunkRows = 64;
constexpr int64_t kTileRows = 8;
constexpr int64_t kChunksPerThread = 4;

int64_t chunk_rows(int64_t num_rows, int64_t num_threads) {
  const int64_t share = num_rows / (num_threads * kChunksPerThread);
  return std::clamp(round_up(share, kTileRows), kTileRows, kMostChunkRows);
}

}  // namespace

void PassRun::forward(const TokenBatch& batch, std::span<const Structure> structures,
                      const TrainThreads& threads) {
  is_forward_done_ = false;
  batch_ = batch;
  layout_.set_shape(config(), structures, batch.num_tokens(), weights_.precision);
  const bool inputs_only = saving_ == Saving::kRecompute;
  layout_.place_forward(forward_arena_.reserve<float>(layout_.num_forward_floats(inputs_only)), inputs_only);
  reserve_workers(threads);
  chunk_rows_ = chunk_rows(layout_.num_subs() * layout_.num_tokens(), threads.pool.num_threads());

  position_ids_.resize(static_cast<size_t>(batch.num_tokens()));
  max_seqlen_ = 0;
  for (size_t i = 0; i + 1 < batch.cu_seqlens.size(); ++i) {
    const int32_t begin = batch.cu_seqlens[i];
    const int32_t end = batch.cu_seqlens[i + 1];
    for (int32_t r = begin; r < end; ++r) position_ids_[static_cast<size_t>(r)] = r - begin;
    max_seqlen_ = std::max<int64_t>(max_seqlen_, end - begin);
  }

  embed(threads);
  for (int64_t l = 0; l < config().num_layers; ++l) forward_layer(l, threads);
  save_last_qkv();
  is_forward_done_ = true;
}

void PassRun::embed(const TrainThreads& threads) {
  const ParameterLayout& parameters = weights_.parameters.layout();
  const RowMatrix& x0 = layer(0).x0;
  clear_padding(x0);
  for_each_row_chunk(1, threads, [&](RowChunk& chunk) {
    for (const Part& part : chunk.parts) {
      float* const sum = layout_.embedding_sum().row(0, part.first);
      training_.embedding_sum_forward({.word = parameter(parameters.word_embeddings),
                                       .position = parameter(parameters.position_embeddings),
                                       .token_type = parameter(parameters.token_type_embeddings),
                                       .input_ids = batch_.input_ids.data() + part.first,
                                       .position_ids = position_ids_.data() + part.first,
                                       .token_type_ids = batch_.token_type_ids.data() + part.first,
                                       .y = sum,
                                       .num_rows = part.num_rows,
                                       .hidden_size = layout_.hidden_size(),
                                       .ldy = layout_.ld_hidden()});
      normalize(parameters.embedding_layer_norm, part, layout_.embedding_sum(), x0);
    }
  });
}

void PassRun::forward_layer(int64_t l, const TrainThreads& threads) {
  const LayerPass& pass = layer(l);
  clear_padding(pass.x1);
  if (l + 1 < config().num_layers) clear_padding(pass.x2);
  for_each_row_chunk(pass.num_attention_subs, threads, [&](RowChunk& chunk) { project_qkv(l, chunk); });
  const std::vector<AttentionItem> items = attention_items(l, threads);
  const int64_t scratch_floats = kernels_.attention_scratch_floats(max_seqlen_, layout_.head_dim());
  for_each_chunk(threads, static_cast<int64_t>(items.size()), [&](int64_t i, int worker_idx) {
    attend(l, items[static_cast<size_t>(i)], worker(worker_idx).scratch.reserve<float>(scratch_floats));
  });
  for_each_row_chunk(layout_.num_subs(), threads, [&](RowChunk& chunk) { finish_layer(l, chunk); });
}

void PassRun::project_qkv(int64_t l, RowChunk& chunk) {
  const LayerPass& pass = layer(l);
  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = pass.sub(part.sub);
    if (sub.num_heads == 0) continue;
    chunk.groups.push_back(kept_group(part, hidden_operand(pass.x0, part, chunk), sub.qkv, sub.qkv_columns));
  }
  multiply(matrices(l).qkv.by_rows, chunk.groups);
}

void PassRun::attend(int64_t l, const AttentionItem& item, float* scratch) const {
  const SubLayer& sub = layer(l).sub(item.sub);
  AttentionArgs args;
  args.qkv = sub.qkv.row(item.first);
  args.context = sub.context.row(item.first);
  args.scratch = scratch;
  args.head_stride = layout_.head_columns();
  args.ldqkv = sub.qkv.ld;
  args.ldcontext = sub.context.ld;
  args.num_rows = item.num_rows;
  args.head_dim = layout_.head_dim();
  args.head_begin = item.head_begin;
  args.head_end = item.head_end;
  args.query_end = item.num_rows;
  args.scale = attention_scale();
  kernels_.attention_forward(args);
}

// From the context to the next layer's input.
void PassRun::finish_layer(int64_t l, RowChunk& chunk) {
  const LayerPass& pass = layer(l);
  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = pass.sub(part.sub);
    if (sub.num_heads == 0) {
      copy_rows(pass.x0, pass.attn_sum, part);
      continue;
    }
    const Operand context =
        operand({sub.context.row(part.first), sub.context.ld, part.num_rows, sub.context_depth.k_count},
                narrow_scratch(part, chunk), layout_.ld_hidden());
    chunk.groups.push_back(hidden_group(part, context, sub.context_depth, {pass.attn_sum, pass.x0}));
  }
  multiply(matrices(l).attn_out.by_depth, chunk.groups);
  for (const Part& part : chunk.parts) normalize(slots(l).attn_layer_norm, part, pass.attn_sum, pass.x1);

  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = pass.sub(part.sub);
    if (sub.num_neurons == 0) continue;
    chunk.groups.push_back(kept_group(part, hidden_operand(pass.x1, part, chunk), sub.ffn, sub.ffn_columns));
  }
  multiply(matrices(l).ffn_up.by_rows, chunk.groups);

  chunk.groups.clear();
  for (const Part& part : chunk.parts) {
    const SubLayer& sub = pass.sub(part.sub);
    if (sub.num_neurons == 0) {
      copy_rows(pass.x1, pass.ffn_sum, part);
      continue;
    }
    float* const activated = wide_scratch(part, chunk);
    training_.gelu_forward({.x = sub.ffn.row(part.first),
                            .y = activated,
                            .y_precision = weights_.precision,
                            .num_rows = part.num_rows,
                            .num_columns = sub.num_neurons,
                            .ldx = sub.ffn.ld,
                            .ldy = layout_.widest()});
    chunk.groups.push_back(
        hidden_group(part, {activated, layout_.widest()}, sub.ffn_depth, {pass.ffn_sum, pass.x1}));
  }
  multiply(matrices(l).ffn_down.by_depth, chunk.groups);
  for (const Part& part : chunk.parts) normalize(slots(l).ffn_layer_norm, part, pass.ffn_sum, pass.x2);
}

// last_qkv()'s heads stand side by side.
void PassRun::save_last_qkv() {
  const SubLayer& sub = layout_.layers().back().subs.front();
  const int64_t head_columns = 3 * layout_.head_dim();
  if (layout_.head_columns() == head_columns || sub.num_heads != config().num_heads) return;
  last_qkv_ = last_qkv_arena_.reserve<float>(layout_.num_tokens() * last_qkv_ld());
  for (int64_t r = 0; r < layout_.num_tokens(); ++r) {
    for (int64_t h = 0; h < sub.num_heads; ++h) {
      std::copy_n(sub.qkv.row(r) + h * layout_.head_columns(), head_columns,
                  last_qkv_ + r * last_qkv_ld() + h * head_columns);
    }
  }
}

}  // namespace elasticlm
