#include "model/packing.h"

#include "model/float_tensor.h"

namespace elasticlm {
namespace {

// Where one column of the packed matrix comes from: a row of W, or nothing for a zero column.
struct Column {
  const LinearTensors* linear = nullptr;
  int64_t row = 0;
};

PackedMatrix pack(std::span<const Column> columns, int64_t K, const Packing& packing) {
  PackedMatrix packed(num_blocks_of(static_cast<int64_t>(columns.size())), K, packing.precision,
                      packing.memory);
  std::vector<float> weights(static_cast<size_t>(K));
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto [linear, row] = columns[i];
    if (linear == nullptr) continue;
    const auto n = static_cast<int64_t>(i);
    const TensorView& weight = linear->weight;
    widen(weight.data + row * K * dtype_bytes(weight.dtype), weight.dtype, K, weights.data());
    packed.set_column(n, weights);
    float bias = 0;
    widen(linear->bias.data + row * dtype_bytes(linear->bias.dtype), linear->bias.dtype, 1, &bias);
    packed.set_bias(n, bias);
  }
  return packed;
}

}  // namespace

PackedMatrix pack_linear(const LinearTensors& linear, const Packing& packing) {
  std::vector<Column> columns(static_cast<size_t>(linear.weight.shape[0]));
  for (size_t n = 0; n < columns.size(); ++n) columns[n] = {&linear, static_cast<int64_t>(n)};
  return pack(columns, linear.weight.shape[1], packing);
}

PackedMatrix pack_qkv(const EncoderConfig& config, const QkvTensors& qkv, const Packing& packing) {
  const int64_t D = config.head_dim();
  const LinearTensors* const parts[] = {&qkv.query, &qkv.key, &qkv.value};
  std::vector<Column> columns(static_cast<size_t>(config.num_heads * config.qkv_head_columns()));
  for (int64_t h = 0; h < config.num_heads; ++h) {
    Column* head = columns.data() + h * config.qkv_head_columns();
    for (const LinearTensors* part : parts) {
      for (int64_t d = 0; d < D; ++d) *head++ = {part, h * D + d};
    }
  }
  return pack(columns, config.hidden_size, packing);
}

}  // namespace elasticlm
