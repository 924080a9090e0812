// softmax_forward and softmax_difference over the vector wrapper. Included by softmax_<isa>.cpp after the
// wrapper.

#include "kernels/softmax.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr float kLog2E = 1.44269504f;

float row_max(const float* x, int64_t num_columns) {
  const Vec lowest = broadcast(-__builtin_inff());
  Vec largest[4] = {lowest, lowest, lowest, lowest};
  int64_t c = 0;
  for (; c + 4 * kLanes <= num_columns; c += 4 * kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) largest[i] = max(largest[i], load(x + c + i * kLanes));
  }
  for (; c < num_columns; c += kLanes) {
    const int64_t lanes = num_columns - c < kLanes ? num_columns - c : kLanes;
    largest[0] = max(largest[0], keep_first(load_first(x + c, lanes), lanes, lowest));
  }
  return reduce_max(max(max(largest[0], largest[1]), max(largest[2], largest[3])));
}

// x = exp(scale * (x - largest)); returns the sum.
double exponentials(float* x, int64_t num_columns, float largest, float scale) {
  const Vec shift = broadcast(largest);
  const Vec gain = broadcast(scale * kLog2E);
  double total = 0.0;
  int64_t c = 0;
  while (c < num_columns) {
    const int64_t end = c + kSoftmaxSumColumns < num_columns ? c + kSoftmaxSumColumns : num_columns;
    Vec sum[4] = {zero(), zero(), zero(), zero()};
    for (; c + 4 * kLanes <= end; c += 4 * kLanes) {
      Vec e[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) e[i] = (load(x + c + i * kLanes) - shift) * gain;
      exp2(e);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        store(x + c + i * kLanes, e[i]);
        sum[i] = sum[i] + e[i];
      }
    }
    for (; c < end; c += kLanes) {
      const int64_t lanes = end - c < kLanes ? end - c : kLanes;
      Vec e[1] = {(load_first(x + c, lanes) - shift) * gain};
      exp2(e);
      store_first(x + c, e[0], lanes);
      sum[0] = sum[0] + keep_first(e[0], lanes, zero());
    }
    c = end;
    total += static_cast<double>(reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3])));
  }
  return total;
}

void multiply_row(float* x, int64_t num_columns, float factor) {
  const Vec gain = broadcast(factor);
  int64_t c = 0;
  for (; c + kLanes <= num_columns; c += kLanes) store(x + c, load(x + c) * gain);
  if (c < num_columns) store_first(x + c, load_first(x + c, num_columns - c) * gain, num_columns - c);
}

// Sums over a row of exponentials of x and y, and of y's times the difference of their arguments.
struct PairSums {
  double x = 0.0;
  double y = 0.0;
  double differences = 0.0;
};

// x = exp(scale * (x - x_max)), y the same. Two vectors of each at once, or the row's last lanes alone.
PairSums pair_exponentials(float* x, float* y, int64_t num_columns, float x_max, float y_max, float scale) {
  const Vec x_shift = broadcast(x_max);
  const Vec y_shift = broadcast(y_max);
  const Vec gain = broadcast(scale * kLog2E);
  PairSums total;
  int64_t c = 0;
  while (c < num_columns) {
    const int64_t end = c + kSoftmaxSumColumns < num_columns ? c + kSoftmaxSumColumns : num_columns;
    Vec sum[4] = {zero(), zero(), zero(), zero()};
    Vec differences[2] = {zero(), zero()};
    for (; c + 2 * kLanes <= end; c += 2 * kLanes) {
      Vec e[4];
      Vec difference[2];
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        e[i] = load(x + c + i * kLanes) - x_shift;
        e[2 + i] = load(y + c + i * kLanes) - y_shift;
        difference[i] = e[2 + i] - e[i];
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) e[i] = e[i] * gain;
      exp2(e);
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        store(x + c + i * kLanes, e[i]);
        store(y + c + i * kLanes, e[2 + i]);
        differences[i] = fma(e[2 + i], difference[i], differences[i]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = sum[i] + e[i];
    }
    for (; c < end; c += kLanes) {
      const int64_t lanes = end - c < kLanes ? end - c : kLanes;
      Vec e[2] = {load_first(x + c, lanes) - x_shift, load_first(y + c, lanes) - y_shift};
      const Vec difference = keep_first(e[1] - e[0], lanes, zero());
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) e[i] = e[i] * gain;
      exp2(e);
      store_first(x + c, e[0], lanes);
      store_first(y + c, e[1], lanes);
      differences[0] = fma(keep_first(e[1], lanes, zero()), difference, differences[0]);
      sum[0] = sum[0] + keep_first(e[0], lanes, zero());
      sum[2] = sum[2] + keep_first(e[1], lanes, zero());
    }
    c = end;
    total.x += static_cast<double>(reduce_add(sum[0] + sum[1]));
    total.y += static_cast<double>(reduce_add(sum[2] + sum[3]));
    total.differences += static_cast<double>(reduce_add(differences[0] + differences[1]));
  }
  return total;
}

// x = x_factor * x - y_factor * y
void subtract_row(float* x, const float* y, int64_t num_columns, float x_factor, float y_factor) {
  const Vec x_gain = broadcast(x_factor);
  const Vec y_gain = broadcast(y_factor);
  int64_t c = 0;
  for (; c + kLanes <= num_columns; c += kLanes) store(x + c, load(x + c) * x_gain - load(y + c) * y_gain);
  if (c == num_columns) return;
  const int64_t lanes = num_columns - c;
  store_first(x + c, load_first(x + c, lanes) * x_gain - load_first(y + c, lanes) * y_gain, lanes);
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(softmax_forward)(const SoftmaxArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    float* const x = args.x + row * args.ldx;
    const float largest = isa::row_max(x, args.num_columns);
    const double sum = isa::exponentials(x, args.num_columns, largest, args.scale);
    isa::multiply_row(x, args.num_columns, static_cast<float>(1.0 / sum));
    args.log_sums[row] = static_cast<double>(args.scale) * largest + __builtin_log(sum);
  }
}

void ELASTICLM_KERNEL(softmax_difference)(const SoftmaxDifferenceArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    float* const x = args.x + row * args.ldx;
    float* const y = args.y + row * args.ldy;
    const isa::PairSums sums =
        isa::pair_exponentials(x, y, args.num_columns, isa::row_max(x, args.num_columns),
                               isa::row_max(y, args.num_columns), args.scale);
    isa::subtract_row(x, y, args.num_columns, static_cast<float>(1.0 / sums.x),
                      static_cast<float>(1.0 / sums.y));
    args.divergences[row] = static_cast<double>(args.scale) * sums.differences / sums.y +
                            __builtin_log(sums.x) - __builtin_log(sums.y);
  }
}

}  // namespace elasticlm
