// The scalar truth of the linear layers.
#include <cmath>
#include <cstring>

#include "core/dtype.h"
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

// Element k of one column, whose first word is `column`.
template <typename T, int64_t kElements>
T weight_at(const std::byte* column, int64_t k) {
  T value;
  std::memcpy(&value, column + (k / kElements) * kWordRowBytes + (k % kElements) * sizeof(T), sizeof(T));
  return value;
}

// x Wᵀ at one row and one column.
struct F32Dot {
  static float multiply(const RowGroup& group, int64_t row, const std::byte* column) {
    const float* x = static_cast<const float*>(group.x) + row * group.ldx;
    float sum = 0.0f;
    for (const KRun& run : group.depth) {
      for (int64_t k = run.k_begin; k < run.k_begin + run.k_count; ++k)
        sum = std::fma(*x++, weight_at<float, 1>(column, k), sum);
    }
    return sum;
  }
};

struct BF16Dot {
  static float multiply(const RowGroup& group, int64_t row, const std::byte* column) {
    const BF16* x = static_cast<const BF16*>(group.x) + row * group.ldx;
    float sum = 0.0f;
    for (const KRun& run : group.depth) {
      for (int64_t k = run.k_begin; k < run.k_begin + run.k_count; ++k)
        sum = std::fma(bf16_to_f32((x++)->bits), bf16_to_f32(weight_at<uint16_t, 2>(column, k)), sum);
    }
    return sum;
  }
};

struct I8Dot {
  static int32_t multiply(const RowGroup& group, int64_t row, const std::byte* column) {
    const int8_t* x = static_cast<const int8_t*>(group.x) + row * group.ldx;
    int32_t sum = -128 * group.scales[row].sum;
    for (const KRun& run : group.depth) {
      for (int64_t k = run.k_begin; k < run.k_begin + run.k_count; ++k)
        sum += *x++ * weight_at<uint8_t, 4>(column, k);
    }
    return sum;
  }
};

float biased(float sum, float bias, const LinearArgs&, const RowScale*, int64_t) { return sum + bias; }
float biased(int32_t sum, float bias, const LinearArgs& args, const RowScale* row, int64_t n) {
  const float constant = std::fma(row->offset, args.weight.sums[n], bias);
  return std::fma(static_cast<float>(sum), row->scale * args.weight.scales[n], constant);
}

template <typename Dot>
void forward_run(const LinearArgs& args, const RowGroup& group, const ColumnRun& run) {
  for (int64_t row = 0; row < group.num_rows; ++row) {
    for (int64_t column = 0; column < run.num_blocks * kBlockColumns; ++column) {
      const int64_t block = run.block_begin + column / kBlockColumns;
      const int64_t within = column % kBlockColumns;
      const int64_t n = block * kBlockColumns + within;
      const auto sum = Dot::multiply(group, row, args.weight.block(block) + within * kWordBytes);
      const float bias = args.weight.bias == nullptr ? 0.0f : args.weight.bias[n];
      float value = biased(sum, bias, args, group.scales == nullptr ? nullptr : group.scales + row, n);
      value = activate(value, args.activation);
      const int64_t at = run.y_offset + row * group.ldy + column;
      if (group.residual != nullptr) value += group.residual[at];
      if (args.y_type == OutputType::kF32) {
        static_cast<float*>(group.y)[at] = value;
      } else {
        static_cast<BF16*>(group.y)[at].bits = f32_to_bf16(value);
      }
    }
  }
}

template <typename Dot>
void forward(const LinearArgs& args) {
  for (const RowGroup& group : args.groups) {
    for (const ColumnRun& run : group.columns) forward_run<Dot>(args, group, run);
  }
}

}  // namespace

void linear_f32_forward_ref(const LinearArgs& args) { forward<F32Dot>(args); }
void linear_bf16_forward_ref(const LinearArgs& args) { forward<BF16Dot>(args); }
void linear_i8_forward_ref(const LinearArgs& args) { forward<I8Dot>(args); }

}  // namespace elasticlm
