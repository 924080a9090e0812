#include <algorithm>
#include <functional>

#include "core/packed_matrix.h"
#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

struct Layout {
  int64_t num_rows = 0;
  int64_t head_dim = 0;
  int64_t num_heads = 2;
  int64_t row_padding = 16;  // floats between the rows of a head
  int64_t context_padding = 5;
};

// One sequence's q | k | v, poisoned in every place that a kernel has no business with; the last row ends the
// memory, so that a sanitizer sees a read past it.
class Sequence {
 public:
  explicit Sequence(const Layout& layout) : layout_(layout), qkv_(poisoned(size())) {}

  float& q(int64_t h, int64_t row, int64_t d) { return at(h, row, d); }
  float& k(int64_t h, int64_t row, int64_t d) { return at(h, row, layout_.head_dim + d); }
  float& v(int64_t h, int64_t row, int64_t d) { return at(h, row, 2 * layout_.head_dim + d); }
  const Layout& layout() const { return layout_; }

  void fill(const std::function<void(Sequence&, int64_t h, int64_t row, int64_t d)>& set) {
    for (int64_t h = 0; h < layout_.num_heads; ++h) {
      for (int64_t row = 0; row < layout_.num_rows; ++row) {
        for (int64_t d = 0; d < layout_.head_dim; ++d) set(*this, h, row, d);
      }
    }
  }

  AttentionArgs args() const {
    AttentionArgs args;
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
  float& at(int64_t h, int64_t row, int64_t column) {
    return qkv_[static_cast<size_t>((h * layout_.num_rows + row) * ld() + column)];
  }
  Layout layout_;
  std::vector<float> qkv_;
};

Sequence normal_sequence(const Layout& layout, uint64_t seed) {
  Random random(seed);
  Sequence sequence(layout);
  sequence.fill([&](Sequence& s, int64_t h, int64_t row, int64_t d) {
    s.q(h, row, d) = random.normal();
    s.k(h, row, d) = random.normal();
    s.v(h, row, d) = random.normal();
  });
  return sequence;
}

// Runs one call on poisoned scratch; whatever the call does not own of `context` must stay as it was.
void run(Isa isa, AttentionArgs args, std::vector<float>& context) {
  const KernelTable& kernels = kernel_table(isa);
  AlignedBuffer scratch(static_cast<size_t>(kernels.attention_scratch_floats(args.num_rows, args.head_dim)));
  std::fill_n(scratch.data(), scratch.size(), poison());
  args.scratch = scratch.data();
  args.context = context.data();
  const std::vector<float> before = context;
  kernels.attention_forward(args);
  for (size_t i = 0; i < context.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / args.ldcontext;
    const int64_t head = static_cast<int64_t>(i) % args.ldcontext / args.head_dim;
    const bool owned =
        row >= args.query_begin && row < args.query_end && head >= args.head_begin && head < args.head_end;
    if (owned || same_bits(context[i], before[i])) continue;
    CHECK(false,
          std::string(isa_name(isa)) + " wrote outside of its rows and heads, at row " + std::to_string(row));
  }
}

std::vector<float> run_all(Isa isa, const Sequence& sequence) {
  std::vector<float> context = poisoned(sequence.layout().num_rows * sequence.ldcontext());
  run(isa, sequence.args(), context);
  return context;
}

// The exact context of one query row, [D], and its tolerance.
//
// With u the unit roundoff, a kernel's score is a chain of D products and sums, off by at most gamma(D + 1)
// Σ|q k|. Its weight is 2^(c (score - largest)) with c = scale / ln 2 rounded twice, the exponent t rounded
// once more: a relative error of e = c ln 2 · (score's error) + 3 u |t| ln 2 + 2e-7 (the exponential, 1e-7,
// doubled), apart from a factor that all keys of the row share (the rounded maximum), which the normalisation
// cancels. Weights off by a factor 1 + δ, |δ| <= η = exp(e) - 1, move the context by |Σ p δ (v - context)| /
// |1 + Σ p δ| <= Σ p η (|v| + |context|) / (1 - Σ p η). Summing S products and S weights in f32, the
// reciprocal and the last product add gamma(S) Σ p |v| + gamma(S + 3) |context|. Weights below 2^-125 may be
// 0: S times that is far below the rest, as is u times the smallest normal number, kept for an exact 0.
std::vector<Bound> exact_context(Sequence& sequence, int64_t h, int64_t row) {
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
    errors[key] = std::expm1(errors[key] + 3 * kUnitRoundoff * std::abs(exponent) + 2e-7);
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
    const double tolerance = (moved + mean_error * std::abs(value)) / (1.0 - mean_error) +
                             gamma_bound(static_cast<double>(S)) * size +
                             gamma_bound(static_cast<double>(S) + 3) * std::abs(value) + 0x1p-120;
    bounds[static_cast<size_t>(d)] = {value, tolerance};
  }
  return bounds;
}

// Every instruction set against exact values on rows 0, stride, 2 stride, … and the last.
void check_exact(Sequence& sequence, int64_t row_stride, const std::string& subject) {
  const Layout& layout = sequence.layout();
  std::vector<std::vector<float>> contexts;
  const std::vector<Isa> isas = supported_isas();
  for (const Isa isa : isas) contexts.push_back(run_all(isa, sequence));
  std::vector<WorstError> worst(isas.size());
  for (int64_t h = 0; h < layout.num_heads; ++h) {
    for (int64_t step = 0; step < layout.num_rows + row_stride - 1; step += row_stride) {
      const int64_t row = std::min(step, layout.num_rows - 1);
      const std::vector<Bound> bounds = exact_context(sequence, h, row);
      for (int64_t d = 0; d < layout.head_dim; ++d) {
        const int64_t place = row * sequence.ldcontext() + h * layout.head_dim + d;
        for (size_t i = 0; i < isas.size(); ++i) {
          worst[i].add(contexts[i][static_cast<size_t>(place)], bounds[static_cast<size_t>(d)], {h, row, d});
        }
      }
    }
  }
  for (size_t i = 0; i < isas.size(); ++i) {
    CHECK_WITHIN(worst[i], std::string(isa_name(isas[i])) + " " + subject +
                               " S=" + std::to_string(layout.num_rows) +
                               " D=" + std::to_string(layout.head_dim) + " (head, row, d)");
  }
}

constexpr int64_t kHeadDims[] = {8, 16, 24, 32, 40, 64, 128};

TEST_CASE("attention: every remainder of sequence length and head_dim gives the exact context") {
  for (const int64_t head_dim : kHeadDims) {
    for (int64_t rows = 1; rows <= 70; ++rows) {
      Sequence sequence =
          normal_sequence({.num_rows = rows, .head_dim = head_dim}, 1 + static_cast<uint64_t>(rows));
      check_exact(sequence, rows <= 20 ? 1 : 7, "normal");
    }
  }
}

TEST_CASE("attention: lengths around panel, strip and block bounds give the exact context") {
  for (const int64_t rows : {127, 128, 129, 511, 512, 513, 1000}) {
    for (const int64_t head_dim : {24, 32, 64, 128}) {
      Sequence sequence = normal_sequence({.num_rows = rows, .head_dim = head_dim, .num_heads = 1}, 3);
      check_exact(sequence, rows / 9, "long");
    }
  }
}

TEST_CASE("attention: sequences far beyond 512 keys give the exact context") {
  Sequence sequence = normal_sequence({.num_rows = 4097, .head_dim = 32, .num_heads = 1}, 4);
  check_exact(sequence, 1024, "very long");
}

TEST_CASE("attention: scratch grows linearly with the sequence") {
  for (const Isa isa : supported_isas()) {
    const KernelTable& kernels = kernel_table(isa);
    for (const int64_t head_dim : {32, 128}) {
      const int64_t at_4096 = kernels.attention_scratch_floats(4096, head_dim);
      const int64_t at_8192 = kernels.attention_scratch_floats(8192, head_dim);
      CHECK(at_8192 <= 2 * at_4096 + 4096,
            std::string(isa_name(isa)) + " scratch grows faster than the sequence");
    }
  }
}

TEST_CASE("attention: equal scores average the values") {
  for (const int64_t rows : {1, 3, 16, 17, 48, 100}) {
    Random random(5);
    Sequence sequence({.num_rows = rows, .head_dim = 32});
    sequence.fill([&](Sequence& s, int64_t h, int64_t row, int64_t d) {
      s.q(h, row, d) = 1.0f;
      s.k(h, row, d) = 2.0f;
      s.v(h, row, d) = random.normal();
    });
    check_exact(sequence, 1, "equal scores");
  }
}

TEST_CASE("attention: scores of ten thousand neither overflow nor lose their order") {
  for (const float sign : {1.0f, -1.0f}) {
    Random random(6);
    Sequence sequence({.num_rows = 67, .head_dim = 32});
    sequence.fill([&](Sequence& s, int64_t h, int64_t row, int64_t d) {
      s.q(h, row, d) = 42.0f + random.normal(0.01f);
      s.k(h, row, d) = sign * (42.0f + random.normal(0.01f));  // 32 · 42² / sqrt(32) is about 10,000
      s.v(h, row, d) = random.normal();
    });
    check_exact(sequence, 1, sign > 0 ? "scores of +1e4" : "scores of -1e4");
  }
}

TEST_CASE("attention: one dominant key takes all the weight, wherever it stands") {
  constexpr int64_t kRows = 53;
  for (const int64_t dominant : {0, 15, 16, 47, 48, 52}) {
    Random random(7);
    Sequence sequence({.num_rows = kRows, .head_dim = 16});
    sequence.fill([&](Sequence& s, int64_t h, int64_t row, int64_t d) {
      s.q(h, row, d) = 10.0f;
      s.k(h, row, d) = row == dominant ? 250.0f : -250.0f;  // scores ±10,000
      s.v(h, row, d) = random.normal();
    });
    for (const Isa isa : supported_isas()) {
      const std::vector<float> context = run_all(isa, sequence);
      for (int64_t d = 0; d < 16; ++d) {
        CHECK(context[static_cast<size_t>(d)] == sequence.v(0, dominant, d),
              std::string(isa_name(isa)) + " mixed in other keys than " + std::to_string(dominant));
      }
    }
  }
}

TEST_CASE("attention: negative scores are not beaten by the padding of the last panel") {
  Random random(8);
  for (const int64_t rows : {1, 5, 17, 33, 49}) {
    Sequence sequence({.num_rows = rows, .head_dim = 8});
    sequence.fill([&](Sequence& s, int64_t h, int64_t row, int64_t d) {
      s.q(h, row, d) = 5.0f;
      s.k(h, row, d) = -20.0f + random.normal(0.01f);
      s.v(h, row, d) = 1.0f + random.normal(0.01f);
    });
    check_exact(sequence, 1, "negative scores");
  }
}

void check_same(const std::vector<float>& actual, const std::vector<float>& expected,
                const std::string& subject) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (same_bits(actual[i], expected[i])) continue;
    CHECK(false, subject + ": element " + std::to_string(i) + " differs: " + std::to_string(actual[i]) +
                     " against " + std::to_string(expected[i]));
  }
}

TEST_CASE("attention: any split of heads and query rows gives the same bits") {
  Random random(9);
  for (const Isa isa : supported_isas()) {
    for (int trial = 0; trial < 60; ++trial) {
      // Also lengths whose strips hold several tiles.
      const int64_t rows = trial % 10 == 0 ? random.integer(700, 1100) : random.integer(1, 150);
      const int64_t head_dim = kHeadDims[random.integer(0, 6)];
      const Sequence sequence = normal_sequence({.num_rows = rows, .head_dim = head_dim, .num_heads = 3},
                                                static_cast<uint64_t>(trial));
      const std::vector<float> whole = run_all(isa, sequence);
      std::vector<float> pieces = poisoned(static_cast<int64_t>(whole.size()));
      AttentionArgs args = sequence.args();
      for (args.head_begin = 0; args.head_begin < 3; args.head_begin = args.head_end) {
        args.head_end = random.integer(args.head_begin + 1, 3);
        for (args.query_begin = 0; args.query_begin < rows; args.query_begin = args.query_end) {
          args.query_end =
              random.integer(args.query_begin + 1, std::min(rows, args.query_begin + rows / 3 + 9));
          run(isa, args, pieces);
        }
      }
      check_same(pieces, whole, std::string(isa_name(isa)) + " S=" + std::to_string(rows));
    }
  }
}

TEST_CASE("attention: a row's bits do not depend on its place, its neighbours or the strides") {
  constexpr int64_t kHeadDim = 32;
  for (const Isa isa : supported_isas()) {
    for (const int64_t rows : {7, 64, 129}) {
      Sequence sequence = normal_sequence({.num_rows = rows, .head_dim = kHeadDim, .num_heads = 1}, 10);
      const std::vector<float> before = run_all(isa, sequence);
      // The same sequence elsewhere, with the first row's q in every row.
      Sequence moved(
          {.num_rows = rows, .head_dim = kHeadDim, .num_heads = 1, .row_padding = 3, .context_padding = 0});
      moved.fill([&](Sequence& s, int64_t h, int64_t row, int64_t d) {
        s.q(h, row, d) = sequence.q(h, 0, d);
        s.k(h, row, d) = sequence.k(h, row, d);
        s.v(h, row, d) = sequence.v(h, row, d);
      });
      const std::vector<float> after = run_all(isa, moved);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t d = 0; d < kHeadDim; ++d) {
          CHECK(same_bits(after[static_cast<size_t>(row * moved.ldcontext() + d)],
                          before[static_cast<size_t>(d)]),
                std::string(isa_name(isa)) + " row " + std::to_string(row) + " of " + std::to_string(rows));
        }
      }
    }
  }
}

TEST_CASE("attention: an empty range of heads or rows writes nothing") {
  const Sequence sequence = normal_sequence({.num_rows = 9, .head_dim = 16}, 11);
  for (const Isa isa : supported_isas()) {
    std::vector<float> context = poisoned(9 * sequence.ldcontext());
    AttentionArgs args = sequence.args();
    args.head_end = args.head_begin = 1;
    run(isa, args, context);
    args = sequence.args();
    args.query_begin = args.query_end = 4;
    run(isa, args, context);
  }
}

}  // namespace
}  // namespace elasticlm::test
