#include "train/train_weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/status.h"
#include "kernels/training_kernels.h"
#include "train/chunks.h"

namespace elasticlm {
namespace {

// Panels that one chunk packs: about 0.4 MB of a 384 wide matrix.
constexpr int64_t kChunkPanels = 4;

int64_t num_panels_of(int64_t columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }

}  // namespace

PackedWeights::PackedWeights(const ParameterSet& parameter_set, Precision product_precision, Isa product_isa)
    : parameters(parameter_set), precision(product_precision), isa(product_isa) {
  if (precision != Precision::kF32 && precision != Precision::kBF16) {
    fail(ErrorCode::kPrecisionUnsupported, {.expected = "f32 or bf16",
                                            .subject = "the precision of training",
                                            .received = precision_name(precision),
                                            .remedy = ""});
  }
  const ParameterLayout& layout = parameters.layout();
  const int64_t E = layout.config.hidden_size;
  const int64_t F = layout.config.intermediate_size;
  const int64_t qkv_columns = layout.config.num_heads * layout.config.qkv_head_columns();
  for (const LayerSlots& slots : layout.layers) {
    const float* qkv_rows = parameters.at(slots.qkv);
    const float* qkv_bias = parameters.at(slots.qkv_bias);
    if (qkv_columns != slots.qkv.rows) {
      PaddedQkv& padded = padded_.emplace_back(PaddedQkv{AlignedBuffer(static_cast<size_t>(qkv_columns * E)),
                                                         AlignedBuffer(static_cast<size_t>(qkv_columns))});
      qkv_rows = padded.rows.data();
      qkv_bias = padded.bias.data();
    }
    LayerMatrices& layer = layers.emplace_back();
    layer.qkv = add(qkv_rows, qkv_columns);
    layer.attn_out = add(parameters.at(slots.attn_out_t), E);
    layer.ffn_up = add(parameters.at(slots.ffn_up), F);
    layer.ffn_down = add(parameters.at(slots.ffn_down_t), F);
    layer.qkv.by_rows.bias = qkv_bias;
    layer.attn_out.by_depth.bias = parameters.at(slots.attn_out_bias);
    layer.ffn_up.by_rows.bias = parameters.at(slots.ffn_up_bias);
    layer.ffn_down.by_depth.bias = parameters.at(slots.ffn_down_bias);
  }
}

TwoWayMatrix PackedWeights::add(const float* rows, int64_t num_rows) {
  TwoWayMatrix matrix;
  add_target(rows, num_rows, true, matrix.by_rows);
  add_target(rows, num_rows, false, matrix.by_depth);
  return matrix;
}

void PackedWeights::add_target(const float* rows, int64_t num_rows, bool by_rows, PackedMatrixView& view) {
  const int64_t E = parameters.layout().config.hidden_size;
  view.precision = precision;
  view.K = by_rows ? E : num_rows;
  view.num_blocks = num_blocks_of(by_rows ? num_rows : E);
  const int64_t num_words = round_up(view.num_blocks, kPanelBlocks) * kBlockColumns * view.num_words();
  words_.emplace_back(static_cast<size_t>(num_words), memory_);
  std::byte* const words = reinterpret_cast<std::byte*>(words_.back().data());
  view.words = words;
  targets_.push_back({rows, num_rows, by_rows, words});
}

void PackedWeights::pad_heads(int64_t layer_idx) {
  const ParameterLayout& layout = parameters.layout();
  const LayerSlots& slots = layout.layers[static_cast<size_t>(layer_idx)];
  PaddedQkv& padded = padded_[static_cast<size_t>(layer_idx)];
  const int64_t E = layout.config.hidden_size;
  const int64_t kept = 3 * layout.config.head_dim();
  for (int64_t h = 0; h < layout.config.num_heads; ++h) {
    const int64_t row = h * layout.config.qkv_head_columns();
    std::copy_n(parameters.at(slots.qkv) + h * kept * E, kept * E, padded.rows.data() + row * E);
    std::copy_n(parameters.at(slots.qkv_bias) + h * kept, kept, padded.bias.data() + row);
  }
}

void PackedWeights::refresh(const TrainThreads& threads) {
  for_each_chunk(threads, static_cast<int64_t>(padded_.size()), [&](int64_t l, int) { pad_heads(l); });
  const TrainingKernels& kernels = training_kernels(isa);
  const int64_t E = parameters.layout().config.hidden_size;
  struct Chunk {
    const Target* target;
    int64_t panel_begin;
  };
  std::vector<Chunk> chunks;
  for (const Target& target : targets_) {
    const int64_t num_panels = num_panels_of(target.by_rows ? target.num_rows : E);
    for (int64_t panel = 0; panel < num_panels; panel += kChunkPanels) chunks.push_back({&target, panel});
  }
  for_each_chunk(threads, static_cast<int64_t>(chunks.size()), [&](int64_t i, int) {
    const auto [target, panel_begin] = chunks[static_cast<size_t>(i)];
    const int64_t N = target->by_rows ? target->num_rows : E;
    const PackArgs args{.x = target->rows,
                        .words = target->words,
                        .precision = precision,
                        .N = N,
                        .K = target->by_rows ? E : target->num_rows,
                        .ldx = E,
                        .panel_begin = panel_begin,
                        .panel_end = std::min(panel_begin + kChunkPanels, num_panels_of(N))};
    (target->by_rows ? kernels.pack_column_rows : kernels.pack_depth_rows)(args);
  });
}

int64_t PackedWeights::bytes() const {
  size_t num_floats = 0;
  for (const AlignedBuffer& words : words_) num_floats += words.size();
  for (const PaddedQkv& padded : padded_) num_floats += padded.rows.size() + padded.bias.size();
  return static_cast<int64_t>(num_floats * sizeof(float));
}

TrainWeights::TrainWeights(const ParameterSet& parameters, Precision precision, Isa isa)
    : packed_(std::make_unique<PackedWeights>(parameters, precision, isa)) {}

TrainWeights::~TrainWeights() = default;

void TrainWeights::refresh(const TrainThreads& threads) { packed_->refresh(threads); }

const ParameterSet& TrainWeights::parameters() const { return packed_->parameters; }

Precision TrainWeights::precision() const { return packed_->precision; }

Isa TrainWeights::isa() const { return packed_->isa; }

int64_t TrainWeights::bytes() const { return packed_->bytes(); }

}  // namespace elasticlm
