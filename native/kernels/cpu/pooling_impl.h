// pooling_forward over the vector wrapper. Included by pooling_<isa>.cpp after the wrapper.

#include "kernels/pooling.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// y = mean over the first num_rows rows; each column is one chain over the rows.
void mean_rows(const PoolingArgs& args, int64_t num_rows) {
  const Vec gain = broadcast(1.0f / static_cast<float>(num_rows));
  int64_t i = 0;
  for (; i + 4 * kLanes <= args.hidden_size; i += 4 * kLanes) {
    Vec sum[4] = {zero(), zero(), zero(), zero()};
    for (int64_t row = 0; row < num_rows; ++row) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[c] = sum[c] + load(args.x + row * args.ldx + i + c * kLanes);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) store(args.y + i + c * kLanes, sum[c] * gain);
  }
  for (; i < args.hidden_size; i += kLanes) {
    const int64_t lanes = args.hidden_size - i < kLanes ? args.hidden_size - i : kLanes;
    Vec sum = zero();
    for (int64_t row = 0; row < num_rows; ++row) sum = sum + load_first(args.x + row * args.ldx + i, lanes);
    store_first(args.y + i, sum * gain, lanes);
  }
}

// In f64, where no f32 vector's squares overflow or vanish; once per sequence, so scalar code is fast enough.
void normalize(float* y, int64_t size) {
  double squares = 0.0;
  for (int64_t i = 0; i < size; ++i) squares += static_cast<double>(y[i]) * y[i];
  if (squares == 0.0) return;
  const double gain = 1.0 / __builtin_sqrt(squares);
  for (int64_t i = 0; i < size; ++i) y[i] = static_cast<float>(y[i] * gain);
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(pooling_forward)(const PoolingArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::mean_rows(args, args.pooling == Pooling::kCls ? 1 : args.num_rows);
  if (args.normalize) isa::normalize(args.y, args.hidden_size);
}

}  // namespace elasticlm
