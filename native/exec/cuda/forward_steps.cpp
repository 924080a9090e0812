#include "exec/cuda/forward_steps.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/packed_matrix.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/rows.h"

namespace elasticlm::cuda {
namespace {

// Buckets of rows: powers of two, of which a forward fills more than half, up to kLargeRows and multiples of
// it from there on. A bucket costs a captured graph and sizes the launches, whose blocks find less to do in a
// bucket that is not full.
constexpr int64_t kLeastRows = 16;
constexpr int64_t kLargeRows = 1024;
// Buckets of sequences grow fourfold: only pooling and the heads are launched by them, a few microseconds in
// all.
constexpr int64_t kSequencesGrowth = 4;

class Steps {
 public:
  Steps(const ForwardShape& shape, const ForwardMemory& memory, const Device& device, cudaStream_t stream)
      : shape_(shape),
        weights_(memory.weights),
        buffers_(memory.activations),
        plan_(memory.plan),
        small_layers_(memory.small_layers) {
    rows_.stream = stream;
    rows_.num_sms = device.num_sms;
    rows_.max_rows = shape.num_rows;
    rows_.max_sequences = shape.num_sequences;
    rows_.max_attention_tiles = shape.bounds().num_attention_tiles();
    rows_.programmatic = shape.programmatic;
    sequences_ = rows_;
    sequences_.max_rows = shape.num_sequences;
  }

  void encode() const {
    if (shape_.path == DevicePath::kSmall) return encode_small();
    device_embedding_forward(embedding_args(), rows_);
    for (size_t i = 0; i < weights_.layers.size(); ++i) layer(i);
  }

  void output() const {
    switch (shape_.output) {
      case Output::kHidden:
        return widen(buffers_.hidden, weights_.config().hidden_size, &plan_.header->num_rows,
                     plan_.batch_rows);
      case Output::kPooled:
        return pooling();
      case Output::kPooler:
        pooler();
        return widen(buffers_.pooler, weights_.config().hidden_size, &plan_.header->num_sequences,
                     plan_.sequence_positions);
      case Output::kLogits:
        pooler();
        head(HeadLinear::kClassifier, weights_.classifier, buffers_.pooler, buffers_.logits);
        return widen(buffers_.logits, weights_.outline.num_labels, &plan_.header->num_sequences,
                     plan_.sequence_positions);
    }
  }

 private:
  void encode_small() const {
    SmallForwardArgs args;
    args.dtype = weights_.dtype;
    args.layers = small_layers_;
    args.num_layers = static_cast<int32_t>(weights_.config().num_layers);
    args.head_dim = static_cast<int32_t>(weights_.config().head_dim());
    args.attention_scale = attention_scale();
    args.embedding = embedding_args();
    args.spare = buffers_.small_spare;
    args.sums = buffers_.small_sums;
    args.qkv = buffers_.qkv.data;
    args.context = buffers_.context.data;
    args.ffn = buffers_.ffn.data;
    args.ldqkv = buffers_.qkv.ld;
    args.ldffn = buffers_.ffn.ld;
    args.groups = plan_.linear_groups;
    args.row_blocks = plan_.row_blocks;
    args.attention_groups = plan_.attention_groups;
    args.attention_tiles = plan_.attention_tiles;
    args.barrier = plan_.barrier;
    small_forward(args, rows_);
  }

  float attention_scale() const { return 1.0f / std::sqrt(static_cast<float>(weights_.config().head_dim())); }

  DeviceEmbeddingArgs embedding_args() const {
    DeviceEmbeddingArgs args;
    args.dtype = weights_.dtype;
    args.word = weights_.word_embeddings;
    args.position = weights_.position_embeddings;
    args.token_type = weights_.token_type_embeddings;
    args.gamma = weights_.embedding_layer_norm.gamma;
    args.beta = weights_.embedding_layer_norm.beta;
    args.header = plan_.header;
    args.input_ids = plan_.input_ids;
    args.position_ids = plan_.position_ids;
    args.token_type_ids = plan_.token_type_ids;
    args.y = buffers_.hidden.data;
    args.hidden_size = weights_.config().hidden_size;
    args.ldy = buffers_.hidden.ld;
    args.eps = weights_.config().layer_norm_eps;
    return args;
  }

  void layer(size_t layer_idx) const {
    const DeviceLayer& layer = weights_.layers[layer_idx];
    const auto step = [&](LayerLinear linear) {
      return linear_step_idx(static_cast<int64_t>(layer_idx), linear);
    };
    linear(linear_args(step(LayerLinear::kQkvProj), layer.qkv_proj, buffers_.hidden, buffers_.qkv), rows_);
    attention(layer_idx);
    add_to_hidden(step(LayerLinear::kAttnOutProj), layer.attn_out_proj, buffers_.context);
    layer_norm(layer.attn_layer_norm);
    LinearArgs up = linear_args(step(LayerLinear::kFfnUp), layer.ffn_up, buffers_.hidden, buffers_.ffn);
    up.epilogue = Epilogue::kBiasGelu;
    linear(up, rows_);
    add_to_hidden(step(LayerLinear::kFfnDown), layer.ffn_down, buffers_.ffn);
    layer_norm(layer.ffn_layer_norm);
  }

  LinearArgs linear_args(int64_t step_idx, const DeviceLinear& stored, const DeviceMatrix& x,
                         const DeviceMatrix& y) const {
    LinearArgs args;
    args.dtype = weights_.dtype;
    args.weight = stored.weight;
    args.bias = stored.bias;
    args.x = x;
    args.y = y;
    args.step = plan_.linear_steps + step_idx;
    args.groups = plan_.linear_groups;
    args.row_blocks = plan_.row_blocks;
    return args;
  }

  // hidden += x W + bias, with the stored weight transposed.
  void add_to_hidden(int64_t step_idx, const DeviceLinear& stored, const DeviceMatrix& x) const {
    LinearArgs args = linear_args(step_idx, stored, x, buffers_.hidden);
    args.weight_rows = WeightRows::kDepth;
    args.epilogue = Epilogue::kBiasResidual;
    linear(args, rows_);
  }

  void linear(const LinearArgs& args, const LaunchContext& context) const {
    switch (shape_.path) {
      case DevicePath::kReference:
        return linear_reference_forward(args, context);
      case DevicePath::kWgmma:
        return linear_wgmma_forward(args, context);
      default:
        return linear_mma_forward(args, context);
    }
  }

  void attention(size_t layer_idx) const {
    DeviceAttentionArgs args;
    args.dtype = weights_.dtype;
    args.head_dim = weights_.config().head_dim();
    args.qkv = buffers_.qkv.data;
    args.context = buffers_.context.data;
    args.ldqkv = buffers_.qkv.ld;
    args.ldcontext = buffers_.context.ld;
    args.scale = attention_scale();
    args.step = plan_.attention_steps + layer_idx;
    args.groups = plan_.attention_groups;
    args.tiles = plan_.attention_tiles;
    if (shape_.path == DevicePath::kReference) return attention_reference_forward(args, rows_);
    attention_mma_forward(args, rows_);
  }

  void layer_norm(const DeviceLayerNorm& stored) const {
    DeviceLayerNormArgs args;
    args.dtype = weights_.dtype;
    args.gamma = stored.gamma;
    args.beta = stored.beta;
    args.header = plan_.header;
    args.y = buffers_.hidden.data;
    args.hidden_size = weights_.config().hidden_size;
    args.ldy = buffers_.hidden.ld;
    args.eps = weights_.config().layer_norm_eps;
    device_layer_norm_forward(args, rows_);
  }

  void pooling() const {
    DevicePoolingArgs args;
    args.dtype = weights_.dtype;
    args.header = plan_.header;
    args.sequences = plan_.sequences;
    args.x = buffers_.hidden.data;
    args.out = buffers_.results;
    args.hidden_size = weights_.config().hidden_size;
    args.ldx = buffers_.hidden.ld;
    args.pooling = shape_.pooling;
    args.normalize = shape_.normalize;
    device_pooling_forward(args, sequences_);
  }

  void pooler() const {
    DeviceFirstRowsArgs args;
    args.dtype = weights_.dtype;
    args.header = plan_.header;
    args.sequences = plan_.sequences;
    args.x = buffers_.hidden.data;
    args.y = buffers_.first_rows.data;
    args.hidden_size = weights_.config().hidden_size;
    args.ldx = buffers_.hidden.ld;
    args.ldy = buffers_.first_rows.ld;
    device_first_rows(args, sequences_);
    head(HeadLinear::kPooler, weights_.pooler, buffers_.first_rows, buffers_.pooler);
  }

  void head(HeadLinear linear_of, const DeviceLinear& stored, const DeviceMatrix& x,
            const DeviceMatrix& y) const {
    LinearArgs args = linear_args(linear_step_idx(weights_.config(), linear_of), stored, x, y);
    args.epilogue = linear_of == HeadLinear::kPooler ? Epilogue::kBiasTanh : Epilogue::kBias;
    linear(args, sequences_);
  }

  void widen(const DeviceMatrix& x, int64_t columns, const int32_t* num_rows,
             const int32_t* batch_rows) const {
    DeviceWidenArgs args;
    args.dtype = weights_.dtype;
    args.num_rows = num_rows;
    args.batch_rows = batch_rows;
    args.x = x.data;
    args.out = buffers_.results;
    args.columns = columns;
    args.ldx = x.ld;
    device_widen_rows(args, shape_.output == Output::kHidden ? rows_ : sequences_);
  }

  const ForwardShape& shape_;
  const DeviceWeights& weights_;
  const ActivationMatrices& buffers_;
  const PlanAddresses& plan_;
  const SmallLayer* small_layers_;
  LaunchContext rows_;       // of kernels over the batch's rows
  LaunchContext sequences_;  // of kernels over one row for each sequence
};

}  // namespace

ForwardShape bucket_of(int64_t num_rows, int64_t num_sequences) {
  ForwardShape shape;
  shape.num_rows =
      num_rows > kLargeRows
          ? round_up(num_rows, kLargeRows)
          : std::max(kLeastRows, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(num_rows))));
  shape.num_sequences = 1;
  while (shape.num_sequences < num_sequences) shape.num_sequences *= kSequencesGrowth;
  shape.num_sequences = std::min(shape.num_sequences, shape.num_rows);
  return shape;
}

void enqueue_forward(const ForwardShape& shape, const ForwardMemory& memory, const Device& device,
                     cudaStream_t stream) {
  const Steps steps(shape, memory, device, stream);
  steps.encode();
  steps.output();
}

}  // namespace elasticlm::cuda
