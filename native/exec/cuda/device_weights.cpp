#include "exec/cuda/device_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/packed_matrix.h"
#include "core/status.h"
#include "kernels/cuda/records.h"
#include "kernels/cuda/tensor_map.h"
#include "model/float_tensor.h"

namespace elasticlm::cuda {
namespace {

// Host memory that an upload takes: a few milliseconds of a PCIe link, and little beside the weights
// themselves.
constexpr int64_t kChunkBytes = int64_t{4} << 20;
// Where a matrix may begin: what cudaMalloc itself gives, more than the 128 bytes that TMA and vector loads
// want.
constexpr int64_t kAlignment = 256;

void store(DType dtype, int64_t idx, float value, std::byte* row) {
  if (dtype == DType::kF32) {
    std::memcpy(row + idx * 4, &value, sizeof value);
    return;
  }
  const uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  const float stored = dtype == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  if (std::isinf(stored) && std::isfinite(value)) {
    fail(ErrorCode::kDtypeUnsupported,
         {.expected = std::string("weights that ") + dtype_name(dtype) + " can hold",
          .subject = "the precision on the GPU",
          .received = "one of " + std::to_string(value),
          .remedy = "Choose precision 'bf16' or 'f32'"});
  }
  std::memcpy(row + idx * 2, &bits, sizeof bits);
}

float element(const PackedMatrixView& packed, int64_t n, int64_t k) { return packed.value(n, k); }

ModelWeights outline_of(const ModelWeights& weights) {
  ModelWeights outline;
  outline.config = weights.config;
  outline.num_labels = weights.num_labels;
  if (weights.pooler) outline.pooler.emplace();
  if (weights.classifier) outline.classifier.emplace();
  return outline;
}

// Takes rows one after another and sends them in chunks. Without a destination it only counts.
class Writer {
 public:
  Writer() = default;
  Writer(std::byte* destination, int64_t row_bytes, cudaStream_t stream)
      : destination_(destination), stream_(stream) {
    chunk_.allocate(std::max(kChunkBytes, row_bytes));
  }

  int64_t bytes() const { return end_; }

  // The address of `num_rows` rows, each of which fill(row_idx, bytes of the row) writes.
  template <typename Fill>
  std::byte* add(int64_t num_rows, int64_t row_bytes, const Fill& fill) {
    const int64_t begin = round_up(end_, kAlignment);
    if (destination_ == nullptr) {
      end_ = begin + num_rows * row_bytes;
      return nullptr;
    }
    const int64_t padding = begin - end_;
    std::fill_n(room(padding), padding, std::byte{0});
    for (int64_t row = 0; row < num_rows; ++row) fill(row, room(row_bytes));
    return destination_ + begin;
  }

  // Waits until everything has arrived.
  void flush() {
    const int64_t pending = end_ - sent_;
    if (pending == 0) return;
    const auto bytes = static_cast<size_t>(pending);
    check(cudaMemcpyAsync(destination_ + sent_, chunk_.data(), bytes, cudaMemcpyHostToDevice, stream_),
          "to receive weights");
    check(cudaStreamSynchronize(stream_), "to receive weights");
    sent_ = end_;
  }

 private:
  // The next `bytes` of the chunk.
  std::byte* room(int64_t bytes) {
    if (end_ - sent_ + bytes > chunk_.bytes()) flush();
    std::byte* const place = chunk_.data() + (end_ - sent_);
    end_ += bytes;
    return place;
  }

  std::byte* destination_ = nullptr;
  cudaStream_t stream_ = nullptr;
  PinnedBuffer chunk_;
  int64_t end_ = 0;   // bytes given out
  int64_t sent_ = 0;  // bytes that have arrived
};

// Lays the weights out, once to count and once to write.
class Layout {
 public:
  Layout(Writer& writer, DeviceWeights& weights, const Device& device)
      : writer_(writer), weights_(weights), device_(device) {}

  void add(const ModelWeights& model) {
    const EncoderConfig& config = weights_.config();
    const int64_t E = config.hidden_size;
    const int64_t context_size = config.num_heads * config.head_dim();
    weights_.word_embeddings = table(model.word_embeddings);
    weights_.position_embeddings = table(model.position_embeddings);
    weights_.token_type_embeddings = table(model.token_type_embeddings);
    weights_.embedding_layer_norm = layer_norm(model.embedding_layer_norm);
    weights_.layers.clear();
    for (const LayerWeights& layer : model.layers) {
      weights_.layers.push_back(
          {.qkv_proj = qkv(layer.qkv_proj.view()),
           .attn_out_proj = by_depth(layer.attn_out_proj.view(), E, context_size),
           .attn_layer_norm = layer_norm(layer.attn_layer_norm),
           .ffn_up = by_columns(layer.ffn_up.view(), config.intermediate_size, config.hidden_size),
           .ffn_down = by_depth(layer.ffn_down.view(), E, config.intermediate_size),
           .ffn_layer_norm = layer_norm(layer.ffn_layer_norm)});
    }
    if (model.pooler) weights_.pooler = by_columns(model.pooler->view(), E, E);
    if (model.classifier) weights_.classifier = by_columns(model.classifier->view(), model.num_labels, E);
  }

 private:
  // `num_rows` stored rows, and zero rows up to whole blocks; value(row, column) in f32.
  template <typename Value>
  DeviceMatrix matrix(int64_t num_rows, int64_t num_columns, const Value& value) {
    const int64_t row_bytes = num_columns * dtype_bytes(weights_.dtype);
    DeviceMatrix stored;
    stored.rows = round_up(num_rows, kRowBlock);
    stored.columns = num_columns;
    stored.ld = num_columns;
    stored.data = writer_.add(stored.rows, row_bytes, [&](int64_t row, std::byte* out) {
      if (row >= num_rows) {
        std::fill_n(out, row_bytes, std::byte{0});
        return;
      }
      for (int64_t column = 0; column < num_columns; ++column) {
        store(weights_.dtype, column, value(row, column), out);
      }
    });
    return stored.data == nullptr ? stored : with_tensor_maps(stored, weights_.dtype, device_);
  }

  template <typename Value>
  const float* vector(int64_t size, const Value& value) {
    constexpr auto kBytes = static_cast<int64_t>(sizeof(float));
    return reinterpret_cast<const float*>(writer_.add(
        size, kBytes, [&](int64_t idx, std::byte* out) { store(DType::kF32, 0, value(idx), out); }));
  }

  const float* bias(const float* packed, int64_t size) {
    return vector(round_up(size, kRowBlock), [&](int64_t n) { return n < size ? packed[n] : 0.0f; });
  }

  DeviceLinear qkv(const PackedMatrixView& packed) {
    const EncoderConfig& config = weights_.config();
    const int64_t head_rows = 3 * config.head_dim();
    const auto column_of = [&](int64_t row) {
      return row / head_rows * config.qkv_head_columns() + row % head_rows;
    };
    const int64_t num_rows = config.num_heads * head_rows;
    return {matrix(num_rows, config.hidden_size,
                   [&](int64_t row, int64_t k) { return element(packed, column_of(row), k); }),
            vector(num_rows, [&](int64_t row) { return packed.bias[column_of(row)]; })};
  }

  // W [N, K] as it is.
  DeviceLinear by_columns(const PackedMatrixView& packed, int64_t N, int64_t K) {
    return {matrix(N, K, [&](int64_t row, int64_t k) { return element(packed, row, k); }),
            bias(packed.bias, N)};
  }

  // Wᵀ [K, N].
  DeviceLinear by_depth(const PackedMatrixView& packed, int64_t N, int64_t K) {
    return {matrix(K, N, [&](int64_t row, int64_t n) { return element(packed, n, row); }),
            bias(packed.bias, N)};
  }

  DeviceLayerNorm layer_norm(const LayerNormWeights& packed) {
    const int64_t size = weights_.config().hidden_size;
    return {vector(size, [&](int64_t idx) { return packed.gamma.data()[idx]; }),
            vector(size, [&](int64_t idx) { return packed.beta.data()[idx]; })};
  }

  const void* table(const TensorView& stored) {
    const int64_t E = weights_.config().hidden_size;
    std::vector<float> wide(static_cast<size_t>(E));
    return writer_.add(stored.shape[0], E * dtype_bytes(weights_.dtype), [&](int64_t row, std::byte* out) {
      widen(stored.data + row * E * dtype_bytes(stored.dtype), stored.dtype, E, wide.data());
      for (int64_t e = 0; e < E; ++e) store(weights_.dtype, e, wide[static_cast<size_t>(e)], out);
    });
  }

  Writer& writer_;
  DeviceWeights& weights_;
  const Device& device_;
};

}  // namespace

DeviceMatrix with_tensor_maps(const DeviceMatrix& matrix, DType dtype, const Device& device) {
  DeviceMatrix mapped = matrix;
  if (dtype == DType::kF32 || !device.has_hopper_features()) return mapped;
  TensorMapSpec spec{matrix.data, dtype, matrix.rows, matrix.columns, matrix.ld, kRowBlock};
  mapped.block_map = make_tensor_map(spec);
  spec.box_rows = kPanelRows;
  mapped.panel_map = make_tensor_map(spec);
  return mapped;
}

DeviceWeights::DeviceWeights(const ModelWeights& weights, DType compute_dtype, const Device& device)
    : outline(outline_of(weights)), dtype(compute_dtype) {
  Writer counter;
  Layout(counter, *this, device).add(weights);
  memory.allocate(counter.bytes());
  const Stream stream = make_stream();
  Writer writer(memory.data(), config().hidden_size * dtype_bytes(DType::kF32), stream.get());
  run_or_drain(stream.get(), [&] {
    Layout(writer, *this, device).add(weights);
    writer.flush();
  });
}

}  // namespace elasticlm::cuda
