#include "test/linear_fixture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/dtype.h"

namespace elasticlm::test {
namespace {

constexpr double kBF16UnitRoundoff = 0x1p-8;
// Smallest normal number of f32 and of bf16: what vdpbf16ps and the rounding to bf16 may take for zero.
constexpr double kSmallestNormal = 0x1p-126;
constexpr uint16_t kPoisonBF16 = 0x7fde;  // NaN
constexpr int64_t kYOffset = 3;           // of the first run, so that y is aligned to no more than an element

template <typename T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}
template <typename T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

uint32_t y_poison(OutputType y_type) { return y_type == OutputType::kF32 ? kPoisonBits : kPoisonBF16; }

void poison_operand(Precision precision, Random& random, std::vector<std::byte>& bytes) {
  for (size_t at = 0; at < bytes.size(); at += kWordBytes) {
    if (precision == Precision::kF32) put(bytes.data() + at, kPoisonBits);
    if (precision == Precision::kBF16) put(bytes.data() + at, kPoisonBF16 * 0x10001u);
    if (precision == Precision::kI8)
      put(bytes.data() + at, static_cast<uint32_t>(random.integer(0, UINT32_MAX)));
  }
}

// Rising runs that keep each of `count` units with the given odds (of 4), neighbours joined or not at random.
template <typename Run>
std::vector<Run> random_runs(Random& random, int64_t count, int64_t odds, const auto& make) {
  std::vector<Run> runs;
  int64_t begin = -1;
  for (int64_t unit = 0; unit <= count; ++unit) {
    const bool kept = unit < count && random.integer(0, 3) < odds;
    if (begin >= 0 && (!kept || random.integer(0, 4) == 0)) {
      runs.push_back(make(begin, unit - begin));
      begin = -1;
    }
    if (kept && begin < 0) begin = unit;
  }
  return runs;
}

std::vector<KRun> random_depth(Random& random, const LinearWeights& weights, int64_t odds) {
  const PackedMatrixView view = weights.packed.view();
  const int64_t e = word_elements(view.precision);
  std::vector<KRun> runs =
      random_runs<KRun>(random, view.num_words(), odds, [&](int64_t begin, int64_t count) {
        return KRun{begin * e, std::min(count * e, weights.K - begin * e)};
      });
  if (!runs.empty()) runs.back().k_count -= std::min(runs.back().k_count, random.integer(0, e - 1));
  return runs;
}

std::string describe(Isa isa, size_t group_idx, const LinearGroup& group) {
  return std::string(isa_name(isa)) + ", " + precision_name(group.kind.precision) +
         (group.kind.y_type == OutputType::kF32 ? " to f32" : " to bf16") + ", group " +
         std::to_string(group_idx) + " of " + std::to_string(group.num_rows) + " rows, depth " +
         std::to_string(group.kept_depth()) + " in " + std::to_string(group.depth.size()) + " runs, " +
         std::to_string(group.columns.size()) + " column runs";
}

// x Wᵀ + bias of one element, and how far from it a kernel may be.
//
// f32: a chain of K fused or separate multiply-adds and the bias are off by at most gamma_(K + 2) times the
// sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
//
// bf16: the products are exact, 16 bits of f32's 24. A word adds two of them to the sum in two additions,
// each rounded, in whatever order the instruction takes them: a product meets at most two roundings in its
// own word and in each later one, then the bias's, so gamma_(2 * words + 1). vdpbf16ps takes denormal inputs
// for zero, which changes a product by less than the smallest normal number times its other factor, and
// flushes denormal results, by less than that number at each rounding.
//
// i8: the sum is exact. Its conversion rounds from 2^24 on, the product of the two scales and the product
// with them round once each, as do the offset's product, the bias's addition and the sum of both. A denormal
// product of scales is off by up to 2^-150.
Bound biased_bound(const LinearCase& linear, const LinearGroup& group, int64_t row, int64_t n) {
  double sum = 0.0;
  double magnitude = 0.0;
  double factors = 0.0;
  int64_t at = 0;
  for (const KRun& run : group.depth) {
    for (int64_t k = run.k_begin; k < run.k_begin + run.k_count; ++k) {
      const double x = group.x_at(row, at++);
      const double w = linear.weights.at(n, k);
      sum += x * w;
      magnitude += std::abs(x * w);
      factors += std::abs(x) + std::abs(w);
    }
  }
  const double bias = linear.has_bias ? linear.weights.bias[static_cast<size_t>(n)] : 0.0;
  if (group.kind.precision == Precision::kI8) {
    const double scale = static_cast<double>(group.scales[static_cast<size_t>(row)].scale) *
                         linear.weights.packed.view().scales[n];
    const double product = sum * scale;
    const double before =
        gamma_bound(std::abs(sum) > 0x1p24 ? 3.0 : 2.0) * std::abs(product) + std::abs(sum) * 0x1p-150;
    const double shift = static_cast<double>(group.scales[static_cast<size_t>(row)].offset) *
                         linear.weights.packed.view().sums[n];
    const double constant = gamma_bound(2) * (std::abs(shift) + std::abs(bias));
    const double value = product + shift + bias;
    const bool is_sum = linear.has_bias || shift != 0.0;
    const double rounded = is_sum ? kUnitRoundoff * (std::abs(value) + before + constant) : 0.0;
    return {value, before + constant + rounded};
  }
  const auto words = static_cast<double>(group.kept_words());
  const bool is_f32 = group.kind.precision == Precision::kF32;
  return {sum + bias, gamma_bound(is_f32 ? words + 2.0 : 2.0 * words + 1.0) * (magnitude + std::abs(bias)) +
                          kSmallestNormal * (factors + 2.0 * words + 1.0)};
}

// The activation stretches the error before it by its largest slope (GELU 1.13, tanh 1) and adds its own
// (vector_math.h): GELU 1e-7 max(1, |v|), 1e-5 max(1, |v|) where bf16 follows, or 5 roundings of |v| in the
// scalar formula; tanh 3e-7.
Bound activated_bound(const Bound& before, Activation activation, OutputType y_type) {
  const double v = before.value;
  const double size = std::abs(v);
  switch (activation) {
    case Activation::kGelu:
      return {0.5 * v * std::erfc(-v * std::sqrt(0.5)),
              1.13 * before.tolerance + (y_type == OutputType::kF32 ? 1e-7 : 1e-5) * std::max(1.0, size) +
                  5.0 * kUnitRoundoff * size};
    case Activation::kTanh:
      return {std::tanh(v), before.tolerance + 3e-7};
    case Activation::kNone:
      break;
  }
  return before;
}

// In the order of for_each_output.
std::vector<Bound> bounds_of(const LinearCase& linear, const LinearGroup& group) {
  std::vector<Bound> bounds;
  group.for_each_output([&](int64_t row, int64_t n, int64_t at) {
    Bound bound = activated_bound(biased_bound(linear, group, row, n), linear.activation, group.kind.y_type);
    if (group.has_residual) {
      bound.value += group.residual[static_cast<size_t>(at)];
      bound.tolerance += kUnitRoundoff * (std::abs(bound.value) + bound.tolerance);
    }
    if (group.kind.y_type == OutputType::kBF16) {
      bound.tolerance += kBF16UnitRoundoff * (std::abs(bound.value) + bound.tolerance) + kSmallestNormal;
    }
    bounds.push_back(bound);
  });
  return bounds;
}

void check_group(const LinearGroup& group, const std::vector<Bound>& bounds, const std::string& what) {
  std::vector<bool> written(static_cast<size_t>(group.y_size()), false);
  WorstError worst;
  auto bound = bounds.begin();
  group.for_each_output([&](int64_t row, int64_t n, int64_t at) {
    written[static_cast<size_t>(at)] = true;
    worst.add(group.y_at(at), *bound++, {row, n});
  });
  CHECK_WITHIN(worst, what + " (row, column)");
  for (int64_t at = 0; at < group.y_size(); ++at) {
    const auto i = static_cast<size_t>(at);
    if (written[i]) continue;
    const bool untouched = group.in_place ? same_bits(group.y_at(at), group.residual[i])
                                          : group.y_bits(at) == y_poison(group.kind.y_type);
    CHECK(untouched, what + ": wrote beside its columns, at element " + std::to_string(at));
  }
}

}  // namespace

LinearKind linear_kind(Precision precision, int64_t i) {
  return {precision, precision == Precision::kF32 || i % 2 == 0 ? OutputType::kF32 : OutputType::kBF16};
}

Activation activation_of(int64_t i) {
  return i % 3 == 0 ? Activation::kNone : i % 3 == 1 ? Activation::kGelu : Activation::kTanh;
}

std::vector<Isa> linear_isas(Precision precision) {
  std::vector<Isa> isas;
  for (const Isa isa : supported_isas()) {
    const LinearForward kernel = kernel_table(isa).linear_forward(precision);
    if (std::ranges::none_of(
            isas, [&](Isa other) { return kernel_table(other).linear_forward(precision) == kernel; })) {
      isas.push_back(isa);
    }
  }
  return isas;
}

LinearWeights::LinearWeights(Precision precision, int64_t num_blocks, int64_t K, Random& random)
    : num_blocks(num_blocks),
      K(K),
      packed(num_blocks, K, precision),
      stored(static_cast<size_t>(num_blocks * kBlockColumns * K)) {
  std::vector<float> column(static_cast<size_t>(K));
  for (int64_t n = 0; n < num_blocks * kBlockColumns; ++n) {
    bias.push_back(random.normal());
    packed.set_bias(n, bias.back());
    for (float& weight : column) weight = random.normal() / std::sqrt(static_cast<float>(K));
    set_column(n, column);
  }
}

void LinearWeights::set_column(int64_t n, std::span<const float> weights) {
  packed.set_column(n, weights);
  const PackedMatrixView view = packed.view();
  for (int64_t k = 0; k < K; ++k) {
    float value = view.value(n, k);
    // q * scale is rounded once: the quotient is nearer to q than to any other whole number.
    if (view.precision == Precision::kI8) {
      value = view.scales[n] == 0.0f ? 0.0f : std::nearbyint(value / view.scales[n]);
    }
    stored[static_cast<size_t>(n * K + k)] = value;
  }
}

PackedMatrix LinearWeights::poisoned_beside(const LinearGroup& group) const {
  const PackedMatrixView view = packed.view();
  const int64_t e = word_elements(view.precision);
  std::vector<bool> kept_column(static_cast<size_t>(num_blocks * kBlockColumns), false);
  std::vector<bool> kept_k(static_cast<size_t>(K), false);
  std::vector<bool> kept_word(static_cast<size_t>(view.num_words()), false);
  for (const ColumnRun& run : group.columns) {
    std::fill_n(kept_column.begin() + run.block_begin * kBlockColumns, run.num_blocks * kBlockColumns, true);
  }
  for (const KRun& run : group.depth) {
    std::fill_n(kept_k.begin() + run.k_begin, run.k_count, true);
    std::fill_n(kept_word.begin() + run.k_begin / e, words_of(run.k_count, view.precision), true);
  }

  PackedMatrix poisoned(num_blocks, K, view.precision);
  std::vector<int64_t> depth(static_cast<size_t>(K));
  for (int64_t n = 0; n < num_blocks * kBlockColumns; ++n) {
    const bool kept = kept_column[static_cast<size_t>(n)];
    const auto column = stored.begin() + n * K;
    const auto largest =
        std::max_element(column, column + K, [](float a, float b) { return std::abs(a) < std::abs(b); });
    for (int64_t k = 0; k < K; ++k) {
      depth[static_cast<size_t>(k)] = kept && kept_k[static_cast<size_t>(k)] ? k : largest - column;
    }
    poisoned.copy_column(n, view, n, depth);
    poisoned.set_bias(n, kept ? bias[static_cast<size_t>(n)] : poison());
    if (view.precision == Precision::kI8) continue;
    for (int64_t k = 0; k < K; ++k) {
      if (!kept || !kept_word[static_cast<size_t>(k / e)]) poisoned.set(n, k, poison());
    }
  }
  return poisoned;
}

int64_t LinearGroup::kept_depth() const {
  int64_t sum = 0;
  for (const KRun& run : depth) sum += run.k_count;
  return sum;
}

std::byte* LinearGroup::x_row(int64_t r) {
  return x.data() + kWordBytes + r * ldx * element_bytes(kind.precision);
}

void LinearGroup::lay_out(Random& random, bool head_major) {
  const int64_t e = word_elements(kind.precision);
  const int64_t words_per_row = kept_words() + random.integer(0, 2);
  ldx = words_per_row * e;
  const int64_t num_words = num_rows == 0 ? 0 : (num_rows - 1) * words_per_row + kept_words();
  x.resize(static_cast<size_t>((1 + num_words) * kWordBytes));
  poison_operand(kind.precision, random, x);
  const bool is_i8 = kind.precision == Precision::kI8;
  scales.assign(is_i8 ? static_cast<size_t>(num_rows) : 0, RowScale{});
  for (int64_t r = 0; r < num_rows; ++r) {
    std::memset(x_row(r), 0, static_cast<size_t>(kept_depth() * element_bytes(kind.precision)));
    // A quantised normal row: its largest of 3 deviations is 127.
    if (is_i8) scales[static_cast<size_t>(r)].scale = 3.0f / 127.0f * std::exp(random.normal());
    for (int64_t k = 0; k < kept_depth(); ++k) {
      set_x(r, k, is_i8 ? static_cast<float>(random.integer(-127, 127)) : random.normal());
    }
  }

  int64_t widest = 0;
  int64_t total = 0;
  for (const ColumnRun& run : columns) {
    widest = std::max(widest, run.num_blocks * kBlockColumns);
    total += run.num_blocks * kBlockColumns;
  }
  ldy = (head_major ? widest : total) + random.integer(0, 1) * kBlockColumns;
  int64_t offset = kYOffset;
  for (ColumnRun& run : columns) {
    run.y_offset = offset;
    offset += head_major ? ldy * num_rows : run.num_blocks * kBlockColumns;
  }
  const int64_t size = kYOffset + (head_major ? offset : num_rows * ldy) + kBlockColumns;
  y.resize(static_cast<size_t>(size * y_bytes()));
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t bits = y_poison(kind.y_type);
    std::memcpy(y.data() + i * y_bytes(), &bits, static_cast<size_t>(y_bytes()));
  }
  residual.clear();
  for (int64_t i = 0; has_residual && i < size; ++i) residual.push_back(random.normal());
  if (in_place) std::memcpy(y.data(), residual.data(), y.size());
}

void LinearGroup::set_x(int64_t r, int64_t k, float value) {
  std::byte* const at = x_row(r) + k * element_bytes(kind.precision);
  if (kind.precision == Precision::kF32) put(at, value);
  if (kind.precision == Precision::kBF16) put(at, f32_to_bf16(value));
  if (kind.precision == Precision::kI8) {
    scales[static_cast<size_t>(r)].sum += static_cast<int8_t>(value) - get<int8_t>(at);
    put(at, static_cast<int8_t>(value));
  }
}

double LinearGroup::x_at(int64_t r, int64_t k) const {
  const std::byte* const at = x_row(r) + k * element_bytes(kind.precision);
  if (kind.precision == Precision::kF32) return get<float>(at);
  if (kind.precision == Precision::kBF16) return bf16_to_f32(get<uint16_t>(at));
  return get<int8_t>(at);
}

uint32_t LinearGroup::y_bits(int64_t i) const {
  uint32_t bits = 0;
  std::memcpy(&bits, y.data() + i * y_bytes(), static_cast<size_t>(y_bytes()));
  return bits;
}

float LinearGroup::y_at(int64_t i) const {
  return kind.y_type == OutputType::kF32 ? std::bit_cast<float>(y_bits(i))
                                         : bf16_to_f32(static_cast<uint16_t>(y_bits(i)));
}

RowGroup LinearGroup::view() {
  const float* const in_y = reinterpret_cast<const float*>(y.data());
  return {.x = x_row(0),
          .scales = kind.precision == Precision::kI8 ? scales.data() : nullptr,
          .residual = !has_residual ? nullptr
                      : in_place    ? in_y
                                    : residual.data(),
          .y = y.data(),
          .num_rows = num_rows,
          .ldx = ldx,
          .ldy = ldy,
          .columns = columns,
          .depth = depth};
}

LinearGroup prefix_group(Random& random, LinearKind kind, int64_t num_rows, int64_t num_blocks,
                         int64_t depth) {
  LinearGroup group;
  group.kind = kind;
  group.num_rows = num_rows;
  group.columns = {{.block_begin = 0, .num_blocks = num_blocks, .y_offset = 0}};
  group.depth = {{.k_begin = 0, .k_count = depth}};
  group.lay_out(random, false);
  return group;
}

LinearGroup random_group(Random& random, const LinearWeights& weights, OutputType y_type, int64_t num_rows) {
  LinearGroup group;
  group.kind = {weights.packed.view().precision, y_type};
  group.num_rows = num_rows;
  group.columns = random_runs<ColumnRun>(random, weights.num_blocks, random.integer(0, 4),
                                         [](int64_t begin, int64_t count) {
                                           return ColumnRun{begin, count, 0};
                                         });
  group.depth = random_depth(random, weights, random.integer(0, 4));
  group.has_residual = y_type == OutputType::kF32 && random.integer(0, 1) == 0;
  group.in_place = group.has_residual && random.integer(0, 1) == 0;
  group.lay_out(random, random.integer(0, 1) == 0);
  return group;
}

LinearGroup one_row_of(const LinearGroup& group, int64_t r) {
  LinearGroup one = group;
  one.num_rows = 1;
  one.x.assign(group.x_row(r) - kWordBytes, group.x_row(r) + group.kept_words() * kWordBytes);
  if (!group.scales.empty()) one.scales = {group.scales[static_cast<size_t>(r)]};
  // The row's place in y moves to the first row's; what stands beside it does not matter.
  const int64_t moved = r * group.ldy;
  if (group.has_residual) {
    one.for_each_output([&](int64_t, int64_t, int64_t at) {
      one.residual[static_cast<size_t>(at)] = group.residual[static_cast<size_t>(at + moved)];
    });
  }
  if (one.in_place) std::memcpy(one.y.data(), one.residual.data(), one.y.size());
  return one;
}

void linear_forward(Isa isa, const PackedMatrixView& weight, Activation activation,
                    std::span<LinearGroup> groups) {
  std::vector<RowGroup> views;
  for (LinearGroup& group : groups) views.push_back(group.view());
  kernel_table(isa).linear_forward(weight.precision)(
      {.weight = weight,
       .activation = activation,
       .y_type = groups.empty() ? OutputType::kF32 : groups.front().kind.y_type,
       .groups = views});
}

void check_linear(const LinearCase& linear, const PackedMatrix& packed) {
  PackedMatrixView view = packed.view();
  if (!linear.has_bias) view.bias = nullptr;
  std::vector<std::vector<Bound>> bounds;
  for (const LinearGroup& group : linear.groups) bounds.push_back(bounds_of(linear, group));
  for (const Isa isa : linear_isas(view.precision)) {
    std::vector<LinearGroup> run = linear.groups;
    linear_forward(isa, view, linear.activation, run);
    for (size_t i = 0; i < run.size(); ++i) check_group(run[i], bounds[i], describe(isa, i, run[i]));
  }
}

std::vector<uint32_t> bits_of_row(const LinearGroup& group, int64_t r) {
  std::vector<uint32_t> bits;
  group.for_each_output([&](int64_t row, int64_t, int64_t at) {
    if (row == r) bits.push_back(group.y_bits(at));
  });
  return bits;
}

void check_same_row(Isa isa, const LinearGroup& got, int64_t got_row, const LinearGroup& expected,
                    int64_t expected_row, const char* what) {
  const std::vector<uint32_t> got_bits = bits_of_row(got, got_row);
  const std::vector<uint32_t> expected_bits = bits_of_row(expected, expected_row);
  CHECK(got_bits.size() == expected_bits.size(), std::string(isa_name(isa)) + ": sizes differ, " + what);
  for (size_t i = 0; i < got_bits.size(); ++i) {
    if (got_bits[i] == expected_bits[i]) continue;
    char bits[120];
    std::snprintf(bits, sizeof(bits), ", column %zu of row %d: received bits %08x, expected %08x", i,
                  static_cast<int>(got_row), got_bits[i], expected_bits[i]);
    CHECK(false, describe(isa, 0, got) + ", " + what + bits);
  }
}

void check_same_rows(Isa isa, const LinearGroup& got, const LinearGroup& expected, const char* what) {
  for (int64_t r = 0; r < got.num_rows; ++r) check_same_row(isa, got, r, expected, r, what);
}

}  // namespace elasticlm::test
