#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/embedding.h"
#include "kernels/ref/operand_ref.h"

namespace elasticlm {
namespace {

double element(const EmbeddingTable& table, int64_t index) {
  const std::byte* p = table.data + index * dtype_bytes(table.dtype);
  if (table.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, p, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return table.dtype == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

}  // namespace

void embedding_forward_ref(const EmbeddingArgs& args) {
  const int64_t E = args.hidden_size;
  std::vector<double> sum(static_cast<size_t>(E));
  for (int64_t row = 0; row < args.num_rows; ++row) {
    double mean = 0.0;
    for (int64_t e = 0; e < E; ++e) {
      double& x = sum[static_cast<size_t>(e)];
      x = element(args.word, args.input_ids[row] * E + e) +
          element(args.position, args.position_ids[row] * E + e) +
          element(args.token_type, args.token_type_ids[row] * E + e);
      mean += x;
    }
    mean /= static_cast<double>(E);
    double variance = 0.0;
    for (const double x : sum) variance += (x - mean) * (x - mean);
    variance /= static_cast<double>(E);
    const double gain = 1.0 / std::sqrt(variance + args.eps);
    for (int64_t e = 0; e < E; ++e) {
      args.y[row * args.ldy + e] =
          static_cast<float>((sum[static_cast<size_t>(e)] - mean) * gain * args.gamma[e] + args.beta[e]);
    }
    ref::write_operand(args.operand, row, args.y + row * args.ldy, E);
  }
}

}  // namespace elasticlm
