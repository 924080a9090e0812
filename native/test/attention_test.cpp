#include <algorithm>
#include <functional>

#include "core/aligned_buffer.h"
#include "core/dtype.h"
#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

float value_of(float element) { return element; }
float value_of(BF16 element) { return bf16_to_f32(element.bits); }
bool same_bits(BF16 a, BF16 b) { return a.bits == b.bits; }
using test::same_bits;

// What differs between the precisions of the contract.
template <typename Element>
struct Kind;
template <>
struct Kind<float> {
  static constexpr const char* kName = "f32";
  static constexpr auto kForward = &KernelTable::attention_forward;
  static constexpr auto kScratchFloats = &KernelTable::attention_scratch_floats;
  static float rounded(float value) { return value; }
  static float poisoned() { return poison(); }
  static constexpr double kExponentialError = 2e-7;  // 1e-7 (vector_math.h), doubled
  static constexpr double kExponentSteps = 0.0;
  static constexpr double kRounding = 0.0;  // of a weight, and of the context
};
template <>
struct Kind<BF16> {
  static constexpr const char* kName = "bf16";
  static constexpr auto kForward = &KernelTable::attention_bf16_forward;
  static constexpr auto kScratchFloats = &KernelTable::attention_bf16_scratch_floats;
  static BF16 rounded(float value) { return {f32_to_bf16(value)}; }
  static BF16 poisoned() { return {0x7fde}; }              // a NaN that no arithmetic produces
  static constexpr double kExponentialError = 1.1e-4;      // 1.01e-4 (vector_math.h), and rounding it
  static constexpr double kExponentSteps = kUnitRoundoff;  // half a step of 2^-23
  static constexpr double kRounding = 0x1p-8;
};

struct Layout {
  int64_t num_rows = 0;
  int64_t head_dim = 0;
  int64_t num_heads = 2;
  int64_t row_padding = 16;  // elements between the rows of a head
  int64_t context_padding = 6;
};

// One sequence's q | k | v, poisoned in every place that a kernel has no business with; the last row ends the
// memory, so that a sanitizer sees a read past it.
template <typename Element>
class Sequence {
 public:
  explicit Sequence(const Layout& layout)
      : layout_(layout), qkv_(static_cast<size_t>(size()), Kind<Element>::poisoned()) {}

  float q(int64_t h, int64_t row, int64_t d) const { return value_of(qkv_[at(h, row, d)]); }
  float k(int64_t h, int64_t row, int64_t d) const {
    return value_of(qkv_[at(h, row, layout_.head_dim + d)]);
  }
  float v(int64_t h, int64_t row, int64_t d) const {
    return value_of(qkv_[at(h, row, 2 * layout_.head_dim + d)]);
  }
  const Layout& layout() const { return layout_; }

  struct Triple {
    float q = 0.0f;
    float k = 0.0f;
    float v = 0.0f;
  };
  void fill(const std::function<Triple(int64_t h, int64_t row, int64_t d)>& make) {
    for (int64_t h = 0; h < layout_.num_heads; ++h) {
      for (int64_t row = 0; row < layout_.num_rows; ++row) {
        for (int64_t d = 0; d < layout_.head_dim; ++d) {
          const Triple triple = make(h, row, d);
          qkv_[at(h, row, d)] = Kind<Element>::rounded(triple.q);
          qkv_[at(h, row, layout_.head_dim + d)] = Kind<Element>::rounded(triple.k);
          qkv_[at(h, row, 2 * layout_.head_dim + d)] = Kind<Element>::rounded(triple.v);
        }
      }
    }
  }

  AttentionArgsOf<Element> args() const {
    AttentionArgsOf<Element> args;
    args.qkv = qkv_.data();
    args.head_stride = layout_.num_rows * ld();
    args.ldqkv = ld();
    args.ldcontext = ldcontext();
    args.num_rows = layout_.num_rows;
    args.head_dim = layout_.head_dim;
    args.head_end = layout_.num_heads;
    args.query_end = layout_.num_rows;
    args.scale = 1.0f / std::sqrt(static_cast<float>(layout_.head_dim));
    return args;
  }
  int64_t ldcontext() const { return layout_.num_heads * layout_.head_dim + layout_.context_padding; }

 private:
  int64_t ld() const { return 3 * layout_.head_dim + layout_.row_padding; }
  int64_t size() const { return layout_.num_heads * layout_.num_rows * ld() - layout_.row_padding; }
  size_t at(int64_t h, int64_t row, int64_t column) const {
    return static_cast<size_t>((h * layout_.num_rows + row) * ld() + column);
  }
  Layout layout_;
  std::vector<Element> qkv_;
};

template <typename Element>
Sequence<Element> normal_sequence(const Layout& layout, uint64_t seed) {
  Random random(seed);
  Sequence<Element> sequence(layout);
  sequence.fill([&](int64_t, int64_t, int64_t) {
    return typename Sequence<Element>::Triple{random.normal(), random.normal(), random.normal()};
  });
  return sequence;
}

template <typename Element>
std::string subject_of(Isa isa, const Layout& layout, const std::string& what) {
  return std::string(isa_name(isa)) + " " + Kind<Element>::kName + " " + what +
         " S=" + std::to_string(layout.num_rows) + " D=" + std::to_string(layout.head_dim);
}

// Runs one call on poisoned scratch; whatever the call does not own of `context` must stay as it was.
template <typename Element>
void run(Isa isa, AttentionArgsOf<Element> args, std::vector<Element>& context) {
  const KernelTable& kernels = kernel_table(isa);
  AlignedBuffer scratch(
      static_cast<size_t>((kernels.*Kind<Element>::kScratchFloats)(args.num_rows, args.head_dim)));
  std::fill_n(scratch.data(), scratch.size(), poison());
  args.scratch = scratch.data();
  args.context = context.data();
  const std::vector<Element> before = context;
  (kernels.*Kind<Element>::kForward)(args);
  for (size_t i = 0; i < context.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / args.ldcontext;
    const int64_t head = static_cast<int64_t>(i) % args.ldcontext / args.head_dim;
    const bool owned =
        row >= args.query_begin && row < args.query_end && head >= args.head_begin && head < args.head_end;
    if (owned || same_bits(context[i], before[i])) continue;
    CHECK(false, std::string(isa_name(isa)) + " " + Kind<Element>::kName +
                     " wrote outside of its rows and heads, at row " + std::to_string(row));
  }
}

template <typename Element>
std::vector<Element> poisoned_context(const Sequence<Element>& sequence) {
  return std::vector<Element>(static_cast<size_t>(sequence.layout().num_rows * sequence.ldcontext()),
                              Kind<Element>::poisoned());
}

template <typename Element>
std::vector<Element> run_all(Isa isa, const Sequence<Element>& sequence) {
  std::vector<Element> context = poisoned_context(sequence);
  run(isa, sequence.args(), context);
  return context;
}

// The exact context of one query row, [D], and its tolerance.
//
// With u the unit roundoff of f32, a kernel's score is a chain of D products and sums, off by at most
// gamma(D + 1) Σ|q k|; products of bf16 are exact, which only helps. Its weight is 2^(c (score - largest))
// with c = scale / ln 2 rounded twice, the exponent t rounded once more: a relative error of e = c ln 2 ·
// (score's error) + 3 u |t| ln 2 + the error of the exponential, apart from a factor that all keys of the row
// share (the rounded maximum), which the normalisation cancels. In bf16 t is also rounded to steps of 2^-23.
// Weights off by a factor 1 + δ, |δ| <= η = exp(e) (1 + r) - 1 with r the rounding of a weight, move the
// context by |Σ p δ (v - context)| / |1 + Σ p δ| <= Σ p η (|v| + |context|) / (1 - Σ p η): the sum is taken
// of what is multiplied. Summing S products and S weights in f32, the reciprocal and the last product add
// gamma(S) Σ p |v| + gamma(S + 3) |context|; rounding the context adds r of it. Weights below 2^-125 may be
// anything from 0 to that, and so may products where denormals are flushed: S times that is far below the
// rest, as is u times the smallest normal number, kept for an exact 0.
template <typename Element>
std::vector<Bound> exact_context(const Sequence<Element>& sequence, int64_t h, int64_t row) {
  const int64_t S = sequence.layout().num_rows;
  const int64_t D = sequence.layout().head_dim;
  const double scale = sequence.args().scale;
  std::vector<double> weights(static_cast<size_t>(S));
  std::vector<double> errors(static_cast<size_t>(S));
  for (int64_t key = 0; key < S; ++key) {
    double score = 0.0;
    double size = 0.0;
    for (int64_t d = 0; d < D; ++d) {
      const double product = static_cast<double>(sequence.q(h, row, d)) * sequence.k(h, key, d);
      score += product;
      size += std::abs(product);
    }
    weights[static_cast<size_t>(key)] = score * scale;
    errors[static_cast<size_t>(key)] = gamma_bound(static_cast<double>(D) + 1) * size * scale;
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0.0;
  for (size_t key = 0; key < weights.size(); ++key) {
    const double exponent = weights[key] - largest;
    const double error = errors[key] + 3 * kUnitRoundoff * std::abs(exponent) +
                         Kind<Element>::kExponentSteps + Kind<Element>::kExponentialError;
    errors[key] = std::exp(error) * (1.0 + Kind<Element>::kRounding) - 1.0;
    sum += weights[key] = std::exp(exponent);
  }
  double mean_error = 0.0;
  for (size_t key = 0; key < weights.size(); ++key) mean_error += (weights[key] /= sum) * errors[key];
  CHECK(mean_error < 0.5, "the bound of this case says nothing: scores too large");
  std::vector<Bound> bounds(static_cast<size_t>(D));
  for (int64_t d = 0; d < D; ++d) {
    double value = 0.0;
    double size = 0.0;
    double moved = 0.0;
    for (int64_t key = 0; key < S; ++key) {
      const double p = weights[static_cast<size_t>(key)];
      const double v = sequence.v(h, key, d);
      value += p * v;
      size += p * std::abs(v);
      moved += p * errors[static_cast<size_t>(key)] * std::abs(v);
    }
    double tolerance = (moved + mean_error * std::abs(value)) / (1.0 - mean_error) +
                       gamma_bound(static_cast<double>(S)) * size +
                       gamma_bound(static_cast<double>(S) + 3) * std::abs(value);
    tolerance += Kind<Element>::kRounding * (std::abs(value) + tolerance) + 0x1p-120;
    bounds[static_cast<size_t>(d)] = {value, tolerance};
  }
  return bounds;
}

// Every instruction set against exact values on rows 0, stride, 2 stride, … and the last.
template <typename Element>
void check_exact(const Sequence<Element>& sequence, int64_t row_stride, const std::string& what) {
  const Layout& layout = sequence.layout();
  std::vector<std::vector<Element>> contexts;
  const std::vector<Isa> isas = supported_isas();
  for (const Isa isa : isas) contexts.push_back(run_all(isa, sequence));
  std::vector<WorstError> worst(isas.size());
  for (int64_t h = 0; h < layout.num_heads; ++h) {
    for (int64_t step = 0; step < layout.num_rows + row_stride - 1; step += row_stride) {
      const int64_t row = std::min(step, layout.num_rows - 1);
      const std::vector<Bound> bounds = exact_context(sequence, h, row);
      for (int64_t d = 0; d < layout.head_dim; ++d) {
        const auto place = static_cast<size_t>(row * sequence.ldcontext() + h * layout.head_dim + d);
        for (size_t i = 0; i < isas.size(); ++i) {
          worst[i].add(value_of(contexts[i][place]), bounds[static_cast<size_t>(d)], {h, row, d});
        }
      }
    }
  }
  for (size_t i = 0; i < isas.size(); ++i) {
    CHECK_WITHIN(worst[i], subject_of<Element>(isas[i], layout, what) + " (head, row, d)");
  }
}

constexpr int64_t kHeadDims[] = {8, 16, 24, 32, 40, 64, 80, 128};
constexpr int64_t kNumHeadDims = std::size(kHeadDims);

template <typename Element>
void check_remainders() {
  for (const int64_t head_dim : kHeadDims) {
    // Every length at the sizes that encoders have, every third at the others.
    const int64_t step = head_dim == 32 || head_dim == 64 ? 1 : 3;
    for (int64_t rows = 1 + head_dim / 8 % step; rows <= 70; rows += step) {
      check_exact(
          normal_sequence<Element>({.num_rows = rows, .head_dim = head_dim}, 1 + static_cast<uint64_t>(rows)),
          rows <= 20 ? 1 : 7, "normal");
    }
  }
}
TEST_CASE("attention f32: every remainder of sequence length and head_dim gives the exact context") {
  check_remainders<float>();
}
TEST_CASE("attention bf16: every remainder of sequence length and head_dim gives the exact context") {
  check_remainders<BF16>();
}

template <typename Element>
void check_long() {
  // Around multiples of a vector of keys up to the longest sequence whose scores stay in registers, then
  // around panel, strip and block bounds.
  for (const int64_t rows :
       {80, 81, 95, 96, 97, 112, 113, 127, 128, 129, 144, 255, 256, 257, 511, 512, 513, 1000}) {
    for (const int64_t head_dim : {24, 64}) {
      check_exact(normal_sequence<Element>({.num_rows = rows, .head_dim = head_dim, .num_heads = 1}, 3),
                  rows / 9, "long");
    }
  }
}
TEST_CASE("attention f32: lengths around tile, panel, strip and block bounds give the exact context") {
  check_long<float>();
}
TEST_CASE("attention bf16: lengths around tile, panel, strip and block bounds give the exact context") {
  check_long<BF16>();
}

TEST_CASE("attention: sequences far beyond 512 keys give the exact context") {
  check_exact(normal_sequence<float>({.num_rows = 4097, .head_dim = 32, .num_heads = 1}, 4), 1024,
              "very long");
  check_exact(normal_sequence<BF16>({.num_rows = 4097, .head_dim = 32, .num_heads = 1}, 4), 1024,
              "very long");
}

TEST_CASE("attention: scratch grows linearly with the sequence, and never falls") {
  for (const Isa isa : supported_isas()) {
    const KernelTable& kernels = kernel_table(isa);
    for (const AttentionScratchFloats scratch_floats :
         {kernels.attention_scratch_floats, kernels.attention_bf16_scratch_floats}) {
      for (const int64_t head_dim : {32, 128}) {
        const int64_t at_4096 = scratch_floats(4096, head_dim);
        const int64_t at_8192 = scratch_floats(8192, head_dim);
        CHECK(at_8192 <= 2 * at_4096 + 4096,
              std::string(isa_name(isa)) + " scratch grows faster than the sequence");
        int64_t shorter = 0;
        for (int64_t rows = 1; rows <= 2048; ++rows) {
          const int64_t floats = scratch_floats(rows, head_dim);
          CHECK(floats >= shorter, std::string(isa_name(isa)) + " needs less scratch for S=" +
                                       std::to_string(rows) + " than for a shorter sequence");
          shorter = floats;
        }
      }
    }
  }
}

template <typename Element>
void check_equal_scores() {
  for (const int64_t rows : {1, 3, 16, 17, 48, 100, 150}) {
    Random random(5);
    Sequence<Element> sequence({.num_rows = rows, .head_dim = 32});
    sequence.fill([&](int64_t, int64_t, int64_t) {
      return typename Sequence<Element>::Triple{1.0f, 2.0f, random.normal()};
    });
    check_exact(sequence, 1, "equal scores");
  }
}
TEST_CASE("attention: equal scores average the values") {
  check_equal_scores<float>();
  check_equal_scores<BF16>();
}

template <typename Element>
void check_large_scores(float deviation) {
  for (const int64_t rows : {67, 140}) {
    for (const float sign : {1.0f, -1.0f}) {
      Random random(6);
      Sequence<Element> sequence({.num_rows = rows, .head_dim = 32});
      sequence.fill([&](int64_t, int64_t, int64_t) {
        // 32 · 42² / sqrt(32) is about 10,000
        return typename Sequence<Element>::Triple{42.0f + random.normal(deviation),
                                                  sign * (42.0f + random.normal(deviation)), random.normal()};
      });
      check_exact(sequence, 1, sign > 0 ? "scores of +1e4" : "scores of -1e4");
    }
  }
}
TEST_CASE("attention: scores of ten thousand neither overflow nor lose their order") {
  check_large_scores<float>(0.01f);
  check_large_scores<BF16>(0.25f);  // its numbers near 42 are 0.25 apart
}

template <typename Element>
void check_dominant() {
  for (const int64_t rows : {53, 161}) {
    for (const int64_t dominant : {0, 15, 16, 47, 48, 52}) {
      Random random(7);
      Sequence<Element> sequence({.num_rows = rows, .head_dim = 16});
      sequence.fill([&](int64_t, int64_t row, int64_t) {
        // scores ±10,000
        return typename Sequence<Element>::Triple{10.0f, row == dominant ? 250.0f : -250.0f, random.normal()};
      });
      for (const Isa isa : supported_isas()) {
        const std::vector<Element> context = run_all(isa, sequence);
        for (int64_t d = 0; d < 16; ++d) {
          CHECK(value_of(context[static_cast<size_t>(d)]) == sequence.v(0, dominant, d),
                subject_of<Element>(isa, sequence.layout(),
                                    "mixed in other keys than " + std::to_string(dominant)));
        }
      }
    }
  }
}
TEST_CASE("attention: one dominant key takes all the weight, wherever it stands") {
  check_dominant<float>();
  check_dominant<BF16>();
}

template <typename Element>
void check_negative_scores() {
  Random random(8);
  for (const int64_t rows : {1, 5, 17, 33, 49, 130}) {
    Sequence<Element> sequence({.num_rows = rows, .head_dim = 8});
    sequence.fill([&](int64_t, int64_t, int64_t) {
      return typename Sequence<Element>::Triple{5.0f, -20.0f + random.normal(0.01f),
                                                1.0f + random.normal(0.01f)};
    });
    check_exact(sequence, 1, "negative scores");
  }
}
TEST_CASE("attention: negative scores are not beaten by the padding of the last panel") {
  check_negative_scores<float>();
  check_negative_scores<BF16>();
}

template <typename Element>
void check_same(const std::vector<Element>& actual, const std::vector<Element>& expected,
                const std::string& subject) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (same_bits(actual[i], expected[i])) continue;
    CHECK(false, subject + ": element " + std::to_string(i) +
                     " differs: " + std::to_string(value_of(actual[i])) + " against " +
                     std::to_string(value_of(expected[i])));
  }
}

template <typename Element>
void check_splits() {
  Random random(9);
  for (const Isa isa : supported_isas()) {
    for (int trial = 0; trial < 60; ++trial) {
      // Also lengths whose strips hold several tiles.
      const int64_t rows = trial % 10 == 0 ? random.integer(700, 1100) : random.integer(1, 150);
      const int64_t head_dim = kHeadDims[random.integer(0, kNumHeadDims - 1)];
      const Sequence<Element> sequence = normal_sequence<Element>(
          {.num_rows = rows, .head_dim = head_dim, .num_heads = 3}, static_cast<uint64_t>(trial));
      const std::vector<Element> whole = run_all(isa, sequence);
      std::vector<Element> pieces = poisoned_context(sequence);
      AttentionArgsOf<Element> args = sequence.args();
      for (args.head_begin = 0; args.head_begin < 3; args.head_begin = args.head_end) {
        args.head_end = random.integer(args.head_begin + 1, 3);
        for (args.query_begin = 0; args.query_begin < rows; args.query_begin = args.query_end) {
          args.query_end =
              random.integer(args.query_begin + 1, std::min(rows, args.query_begin + rows / 3 + 9));
          run(isa, args, pieces);
        }
      }
      check_same(pieces, whole, subject_of<Element>(isa, sequence.layout(), "in pieces"));
    }
  }
}
TEST_CASE("attention f32: any split of heads and query rows gives the same bits") { check_splits<float>(); }
TEST_CASE("attention bf16: any split of heads and query rows gives the same bits") { check_splits<BF16>(); }

template <typename Element>
void check_places() {
  constexpr int64_t kHeadDim = 32;
  for (const Isa isa : supported_isas()) {
    for (const int64_t rows : {7, 16, 64, 96, 129}) {
      const Sequence<Element> sequence =
          normal_sequence<Element>({.num_rows = rows, .head_dim = kHeadDim, .num_heads = 1}, 10);
      const std::vector<Element> before = run_all(isa, sequence);
      // The same sequence elsewhere, with the first row's q in every row.
      Sequence<Element> moved(
          {.num_rows = rows, .head_dim = kHeadDim, .num_heads = 1, .row_padding = 4, .context_padding = 0});
      moved.fill([&](int64_t h, int64_t row, int64_t d) {
        return typename Sequence<Element>::Triple{sequence.q(h, 0, d), sequence.k(h, row, d),
                                                  sequence.v(h, row, d)};
      });
      const std::vector<Element> after = run_all(isa, moved);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t d = 0; d < kHeadDim; ++d) {
          CHECK(same_bits(after[static_cast<size_t>(row * moved.ldcontext() + d)],
                          before[static_cast<size_t>(d)]),
                subject_of<Element>(isa, moved.layout(), "row " + std::to_string(row)));
        }
      }
    }
  }
}
TEST_CASE("attention: a row's bits do not depend on its place, its neighbours or the strides") {
  check_places<float>();
  check_places<BF16>();
}

template <typename Element>
void check_empty() {
  const Sequence<Element> sequence = normal_sequence<Element>({.num_rows = 9, .head_dim = 16}, 11);
  for (const Isa isa : supported_isas()) {
    std::vector<Element> context = poisoned_context(sequence);
    AttentionArgsOf<Element> args = sequence.args();
    args.head_end = args.head_begin = 1;
    run(isa, args, context);
    args = sequence.args();
    args.query_begin = args.query_end = 4;
    run(isa, args, context);
  }
}
TEST_CASE("attention: an empty range of heads or rows writes nothing") {
  check_empty<float>();
  check_empty<BF16>();
}

template <typename Element>
void check_not_a_number() {
  for (const int64_t rows : {5, 40, 150}) {
    Random random(12);
    Sequence<Element> sequence({.num_rows = rows, .head_dim = 32, .num_heads = 1});
    // As a row that went wrong leaves it: nothing of its q, k and v is a number.
    sequence.fill([&](int64_t, int64_t row, int64_t) {
      const float value = row == 3 ? NAN : random.normal();
      return typename Sequence<Element>::Triple{value, value, value};
    });
    for (const Isa isa : supported_isas()) {
      for (const Element element : run_all(isa, sequence)) {
        CHECK(std::isnan(value_of(element)), subject_of<Element>(isa, sequence.layout(), "hides a NaN"));
      }
    }
  }
}
TEST_CASE("attention: what is not a number does not vanish") {
  check_not_a_number<float>();
  check_not_a_number<BF16>();
}

}  // namespace
}  // namespace elasticlm::test
