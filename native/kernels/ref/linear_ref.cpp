// The scalar truth of linear_forward.
#include <cmath>

#include "kernels/linear.h"

namespace elasticlm {
namespace {

float activate(float value, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5f * value * (1.0f + std::erf(value * 0.70710678f));
    case Activation::kTanh:
      return std::tanh(value);
    case Activation::kNone:
      break;
  }
  return value;
}

// x Wᵀ at one row and one column; `column` is the block's k = 0 element of that column.
float multiply(const float* x, const float* column, std::span<const KRun> depth) {
  float sum = 0.0f;
  for (const KRun& run : depth) {
    for (int64_t k = run.k_begin; k < run.k_begin + run.k_count; ++k)
      sum = std::fma(*x++, column[k * kPanelColumns], sum);
  }
  return sum;
}

void forward_run(const LinearArgs& args, const RowGroup& group, const ColumnRun& run) {
  for (int64_t row = 0; row < group.num_rows; ++row) {
    for (int64_t column = 0; column < run.num_blocks * kBlockColumns; ++column) {
      const int64_t block = run.block_begin + column / kBlockColumns;
      const int64_t within = column % kBlockColumns;
      float value = multiply(group.x + row * group.ldx, args.weight.block(block) + within, group.depth);
      if (args.weight.bias != nullptr) value += args.weight.bias[block * kBlockColumns + within];
      value = activate(value, args.activation);
      const int64_t at = run.y_offset + row * group.ldy + column;
      if (group.residual != nullptr) value += group.residual[at];
      group.y[at] = value;
    }
  }
}

}  // namespace

void linear_forward_ref(const LinearArgs& args) {
  for (const RowGroup& group : args.groups) {
    for (const ColumnRun& run : group.columns) forward_run(args, group, run);
  }
}

}  // namespace elasticlm
