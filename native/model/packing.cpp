#include "model/packing.h"

#include <algorithm>

#include "model/float_tensor.h"

namespace elasticlm {
namespace {

// Where one column of the packed matrix comes from: a row of W, or nothing for a zero column.
struct Column {
  const LinearTensors* linear = nullptr;
  int64_t row = 0;
};

// k steps that are widened at once before they are transposed: 48 x 64 floats are 12 KB, a part of any L1
// cache.
constexpr int64_t kTileDepth = 64;

void pack_panel(std::span<const Column> columns, int64_t K, float* panel) {
  alignas(64) float tile[kPanelColumns * kTileDepth];  // column-major: [48, kTileDepth]
  std::fill(std::begin(tile), std::end(tile), 0.0f);
  for (int64_t k_begin = 0; k_begin < K; k_begin += kTileDepth) {
    const int64_t depth = std::min(kTileDepth, K - k_begin);
    for (size_t c = 0; c < columns.size(); ++c) {
      if (columns[c].linear == nullptr) continue;
      const TensorView& weight = columns[c].linear->weight;
      const int64_t element = columns[c].row * K + k_begin;
      widen(weight.data + element * dtype_bytes(weight.dtype), weight.dtype, depth,
            tile + static_cast<int64_t>(c) * kTileDepth);
    }
    float* const out = panel + k_begin * kPanelColumns;
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t c = 0; c < kPanelColumns; ++c) out[k * kPanelColumns + c] = tile[c * kTileDepth + k];
    }
  }
}

PackedMatrix pack(std::span<const Column> columns, int64_t K) {
  const int64_t N = static_cast<int64_t>(columns.size());
  PackedMatrix packed(num_blocks_of(N), K);
  for (int64_t n = 0; n < N; n += kPanelColumns) {
    const int64_t width = std::min(kPanelColumns, N - n);
    pack_panel(columns.subspan(static_cast<size_t>(n), static_cast<size_t>(width)), K,
               packed.panel(n / kPanelColumns));
  }
  for (int64_t n = 0; n < N; ++n) {
    const auto [linear, row] = columns[static_cast<size_t>(n)];
    if (linear == nullptr) continue;
    float value = 0;
    widen(linear->bias.data + row * dtype_bytes(linear->bias.dtype), linear->bias.dtype, 1, &value);
    packed.set_bias(n, value);
  }
  return packed;
}

}  // namespace

PackedMatrix pack_linear(const LinearTensors& linear) {
  std::vector<Column> columns(static_cast<size_t>(linear.weight.shape[0]));
  for (size_t n = 0; n < columns.size(); ++n) columns[n] = {&linear, static_cast<int64_t>(n)};
  return pack(columns, linear.weight.shape[1]);
}

PackedMatrix pack_qkv(const EncoderConfig& config, const QkvTensors& qkv) {
  const int64_t D = config.head_dim();
  const LinearTensors* const parts[] = {&qkv.query, &qkv.key, &qkv.value};
  std::vector<Column> columns(static_cast<size_t>(config.num_heads * config.qkv_head_columns()));
  for (int64_t h = 0; h < config.num_heads; ++h) {
    Column* head = columns.data() + h * config.qkv_head_columns();
    for (const LinearTensors* part : parts) {
      for (int64_t d = 0; d < D; ++d) *head++ = {part, h * D + d};
    }
  }
  return pack(columns, config.hidden_size);
}

}  // namespace elasticlm
