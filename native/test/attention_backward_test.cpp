#include <algorithm>

#include "core/aligned_buffer.h"
#include "kernels/training_kernels.h"
#include "test/attention_backward_fixture.h"
#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = supported_isas();
  return all;
}

std::string subject_of(Isa isa, const AttentionLayout& layout, const std::string& what) {
  return std::string(isa_name(isa)) + " " + what + " S=" + std::to_string(layout.num_rows) +
         " D=" + std::to_string(layout.head_dim);
}

// Runs one call on poisoned scratch with poison behind its end. Whatever the call does not own of dqkv must
// stay as it was: other heads, and what lies between rows and between heads.
void run(Isa isa, AttentionBackwardArgs args, std::vector<float>& dqkv) {
  constexpr size_t kGuard = 64;
  const TrainingKernels& kernels = training_kernels(isa);
  const auto size =
      static_cast<size_t>(kernels.attention_backward_scratch_floats(args.num_rows, args.head_dim));
  AlignedBuffer scratch(size + kGuard);
  std::fill_n(scratch.data(), scratch.size(), poison());
  args.scratch = scratch.data();
  args.dqkv = dqkv.data();
  const std::vector<float> before = dqkv;
  kernels.attention_backward(args);
  for (size_t i = 0; i < dqkv.size(); ++i) {
    const int64_t head = static_cast<int64_t>(i) / args.head_stride;
    const int64_t row = static_cast<int64_t>(i) % args.head_stride / args.ldqkv;
    const int64_t column = static_cast<int64_t>(i) % args.head_stride % args.ldqkv;
    const bool owned =
        head >= args.head_begin && head < args.head_end && row < args.num_rows && column < 3 * args.head_dim;
    if (owned || same_bits(dqkv[i], before[i])) continue;
    CHECK(false, std::string(isa_name(isa)) + " wrote outside of its heads, at (head, row, column) (" +
                     std::to_string(head) + ", " + std::to_string(row) + ", " + std::to_string(column) + ")");
  }
  for (size_t i = size; i < scratch.size(); ++i) {
    CHECK(is_poison(scratch.data()[i]), std::string(isa_name(isa)) + " wrote past its scratch");
  }
}

std::vector<float> run_all(Isa isa, const AttentionSequence& sequence) {
  std::vector<float> dqkv = sequence.poisoned_gradients();
  run(isa, sequence.args(), dqkv);
  return dqkv;
}

// Every instruction set against exact values.
void check_exact(const AttentionSequence& sequence, const std::string& what) {
  const AttentionLayout& layout = sequence.layout();
  const AttentionBackwardArgs args = sequence.args();
  std::vector<AttentionGradients> exact;
  for (int64_t h = 0; h < layout.num_heads; ++h) exact.push_back(exact_gradients(sequence.head(h)));
  for (const Isa isa : isas()) {
    const std::vector<float> dqkv = run_all(isa, sequence);
    for (size_t part = 0; part < 3; ++part) {
      WorstError worst;
      for (int64_t h = 0; h < layout.num_heads; ++h) {
        for (int64_t row = 0; row < layout.num_rows; ++row) {
          const int64_t first =
              h * args.head_stride + row * args.ldqkv + static_cast<int64_t>(part) * layout.head_dim;
          for (int64_t d = 0; d < layout.head_dim; ++d) {
            worst.add(dqkv[static_cast<size_t>(first + d)],
                      exact[static_cast<size_t>(h)][part][static_cast<size_t>(row * layout.head_dim + d)],
                      {h, row, d});
          }
        }
      }
      constexpr const char* kParts[] = {"dq", "dk", "dv"};
      CHECK_WITHIN(worst, subject_of(isa, layout, what + " " + kParts[part]) + " (head, row, d)");
    }
  }
}

TEST_CASE("attention_backward: the formulas agree with central differences of the forward in float64") {
  // The difference quotient is off by h² / 6 times a third derivative, a few units here: 1e-8 and less. What
  // rounding adds, 2^-52 |loss| / h, is below 1e-10.
  constexpr double kStep = 1e-4;
  for (const AttentionLayout& layout :
       {AttentionLayout{.num_rows = 2, .head_dim = 8}, AttentionLayout{.num_rows = 5, .head_dim = 8},
        AttentionLayout{.num_rows = 7, .head_dim = 16}, AttentionLayout{.num_rows = 12, .head_dim = 24}}) {
    AttentionHead head = normal_sequence(layout, 11).head(0);
    const AttentionGradients gradients = exact_gradients(head);
    double largest = 0.0;
    for (const auto& gradient : gradients) {
      for (const Bound& bound : gradient) largest = std::max(largest, std::abs(bound.value));
    }
    std::vector<double>* const parts[] = {&head.q, &head.k, &head.v};
    for (size_t part = 0; part < 3; ++part) {
      for (size_t i = 0; i < parts[part]->size(); ++i) {
        double& element = (*parts[part])[i];
        const double before = element;
        element = before + kStep;
        double difference = exact_loss(head);
        element = before - kStep;
        difference -= exact_loss(head);
        element = before;
        const double expected = difference / (2.0 * kStep);
        const double value = gradients[part][i].value;
        // Relative to the element, or to what rounding leaves of those that are small by chance.
        const double tolerance = 1e-5 * std::max(std::abs(value), 1e-5 * largest);
        CHECK(std::abs(value - expected) <= tolerance,
              "part " + std::to_string(part) + ", element " + std::to_string(i) +
                  " of S=" + std::to_string(layout.num_rows) + " D=" + std::to_string(layout.head_dim) +
                  ": " + std::to_string(value) + " against " + std::to_string(expected));
      }
    }
  }
}

constexpr int64_t kHeadDims[] = {8, 16, 24, 32, 40, 48, 64, 72, 80, 128};
constexpr int64_t kNumHeadDims = std::size(kHeadDims);

TEST_CASE("attention_backward: every remainder of sequence length and head_dim gives the exact gradients") {
  for (const int64_t head_dim : kHeadDims) {
    // Every length at the sizes that encoders have, every fifth at the others.
    const int64_t step = (head_dim == 32 || head_dim == 64 ? 1 : 5) * (kSanitized ? 3 : 1);
    for (int64_t rows = 1 + head_dim / 8 % step; rows <= 70; rows += step) {
      check_exact(normal_sequence({.num_rows = rows, .head_dim = head_dim, .num_heads = rows <= 20 ? 2 : 1},
                                  static_cast<uint64_t>(rows)),
                  "normal");
    }
  }
}

TEST_CASE("attention_backward: lengths around tile, panel and strip bounds give the exact gradients") {
  for (const int64_t rows : {95, 96, 97, 111, 127, 128, 129, 143, 145, 193, 255, 256, 257, 400, 511, 512}) {
    check_exact(normal_sequence({.num_rows = rows, .head_dim = rows % 2 == 0 ? 32 : 24, .num_heads = 1}, 3),
                "long");
  }
  for (const int64_t rows : {128, 200, 511}) {
    check_exact(normal_sequence({.num_rows = rows, .head_dim = 64, .num_heads = 1}, 4), "long");
  }
}

TEST_CASE("attention_backward: one row has no choice, so dq and dk are 0 and dv is dcontext") {
  for (const int64_t head_dim : kHeadDims) {
    const AttentionSequence sequence = normal_sequence({.num_rows = 1, .head_dim = head_dim}, 5);
    const AttentionHead head = sequence.head(0);
    const AttentionGradients exact = exact_gradients(head);
    for (size_t d = 0; d < static_cast<size_t>(head_dim); ++d) {
      CHECK(exact[0][d].value == 0.0 && exact[1][d].value == 0.0 && exact[2][d].value == head.dcontext[d],
            "the formulas have another result for one row");
    }
    check_exact(sequence, "one row");
  }
}

TEST_CASE("attention_backward: scores of ten thousand neither overflow nor lose their order") {
  for (const int64_t rows : {3, 67, 140}) {
    for (const float sign : {1.0f, -1.0f}) {
      Random random(6);
      AttentionSequence sequence({.num_rows = rows, .head_dim = 32});
      sequence.fill([&](int64_t, int64_t, const AttentionSequence::Elements& at) {
        *at.q = 42.0f + random.normal(0.01f);  // 32 · 42² / sqrt(32) is about 10,000
        *at.k = sign * (42.0f + random.normal(0.01f));
        *at.v = random.normal();
        *at.dcontext = random.normal();
      });
      check_exact(sequence, sign > 0 ? "scores of +1e4" : "scores of -1e4");
    }
  }
}

// Where every row of P is 1 at the dominant key and 0 elsewhere, exactly 0 is added for the other keys, and
// at the dominant one E cancels: with x what dp is computed as, over the row's sum, dS = scale E (x - gain E
// x) with gain = 1 / E has but the roundings of these few operations, however inexact E is. In chains of S
// products, dq is then scale gamma(S + 8) |dp k| at most, and dk the sum of scale gamma(S + 8) |dp q|.
void check_saturated(const AttentionSequence& sequence, int64_t dominant) {
  const int64_t S = sequence.layout().num_rows;
  const int64_t D = sequence.layout().head_dim;
  const AttentionHead head = sequence.head(0);
  std::vector<Bound> dq(static_cast<size_t>(S * D));
  std::vector<Bound> dk(static_cast<size_t>(S * D));
  for (int64_t i = 0; i < S; ++i) {
    double dp = 0.0;
    for (int64_t d = 0; d < D; ++d) {
      dp += std::abs(head.at(head.dcontext, i, d) * head.at(head.v, dominant, d));
    }
    for (int64_t d = 0; d < D; ++d) {
      const double error = head.scale * gamma_bound(static_cast<double>(S) + 8) * dp;
      dq[static_cast<size_t>(i * D + d)].tolerance = error * std::abs(head.at(head.k, dominant, d));
      dk[static_cast<size_t>(dominant * D + d)].tolerance += error * std::abs(head.at(head.q, i, d));
    }
  }
  for (const Isa isa : isas()) {
    const std::vector<float> dqkv = run_all(isa, sequence);
    WorstError worst;
    for (int64_t row = 0; row < S; ++row) {
      const float* gradients = dqkv.data() + row * sequence.args().ldqkv;
      for (int64_t d = 0; d < D; ++d) {
        worst.add(gradients[d], dq[static_cast<size_t>(row * D + d)], {0, row, d});
        worst.add(gradients[D + d], dk[static_cast<size_t>(row * D + d)], {1, row, d});
        if (row != dominant) worst.add(gradients[2 * D + d], {}, {2, row, d});
      }
    }
    CHECK_WITHIN(worst, subject_of(isa, sequence.layout(), "saturated rows") + " (part, row, d)");
  }
}

TEST_CASE("attention_backward: saturated rows pass dcontext to the key they chose, and nothing to q and k") {
  for (const int64_t rows : {19, 53, 161}) {
    for (const int64_t dominant : {int64_t{0}, int64_t{15}, int64_t{16}, rows - 1}) {
      Random random(7);
      AttentionSequence sequence({.num_rows = rows, .head_dim = 16});
      sequence.fill([&](int64_t, int64_t row, const AttentionSequence::Elements& at) {
        *at.q = 10.0f;  // scores of ±10,000
        *at.k = row == dominant ? 250.0f : -250.0f;
        *at.v = random.normal();
        *at.dcontext = random.normal();
      });
      check_exact(sequence, "one dominant key");
      check_saturated(sequence, dominant);
    }
  }
}

TEST_CASE("attention_backward: rows that strongly prefer different keys give the exact gradients") {
  for (const int64_t rows : {16, 37, 130}) {
    Random random(8);
    AttentionSequence sequence({.num_rows = rows, .head_dim = 32});
    sequence.fill([&](int64_t, int64_t, const AttentionSequence::Elements& at) {
      *at.q = random.normal(4.0f);  // scores of deviation 24: most rows nearly saturated
      *at.k = random.normal(6.0f);
      *at.v = random.normal(3.0f);
      *at.dcontext = random.normal(1e-3f);
    });
    check_exact(sequence, "sharp rows");
  }
}

TEST_CASE("attention_backward: any split of heads gives the same bits, and an empty one writes nothing") {
  Random random(9);
  for (const Isa isa : isas()) {
    for (int trial = 0; trial < (kSanitized ? 10 : 40); ++trial) {
      const int64_t rows = random.integer(1, trial % 10 == 0 ? 300 : 150);
      const int64_t head_dim = kHeadDims[random.integer(0, kNumHeadDims - 1)];
      const AttentionSequence sequence = normal_sequence({.num_rows = rows,
                                                          .head_dim = head_dim,
                                                          .num_heads = 4,
                                                          .row_padding = random.integer(0, 20),
                                                          .head_padding = random.integer(0, 40)},
                                                         static_cast<uint64_t>(trial));
      const std::vector<float> whole = run_all(isa, sequence);
      std::vector<float> pieces = sequence.poisoned_gradients();
      AttentionBackwardArgs args = sequence.args();
      for (args.head_begin = 0; args.head_begin < 4; args.head_begin = args.head_end) {
        args.head_end = args.head_begin;
        run(isa, args, pieces);
        args.head_end = random.integer(args.head_begin + 1, 4);
        run(isa, args, pieces);
      }
      for (size_t i = 0; i < whole.size(); ++i) {
        CHECK(same_bits(whole[i], pieces[i]),
              subject_of(isa, sequence.layout(), "in pieces: element " + std::to_string(i)));
      }
    }
  }
}

TEST_CASE("attention_backward: bits do not depend on strides, nor on what the output held before") {
  for (const Isa isa : isas()) {
    for (const int64_t rows : {7, 48, 49, 97, 129}) {
      const AttentionLayout layout{.num_rows = rows, .head_dim = 32};
      const AttentionSequence sequence = normal_sequence(layout, 10);
      const std::vector<float> before = run_all(isa, sequence);
      const AttentionSequence moved = normal_sequence(
          {.num_rows = rows, .head_dim = 32, .row_padding = 0, .head_padding = 5, .context_padding = 0}, 10);
      std::vector<float> after = moved.poisoned_gradients();
      run(isa, moved.args(), after);
      run(isa, moved.args(), after);
      for (int64_t h = 0; h < layout.num_heads; ++h) {
        for (int64_t row = 0; row < rows; ++row) {
          const float* a = before.data() + h * sequence.args().head_stride + row * sequence.args().ldqkv;
          const float* b = after.data() + h * moved.args().head_stride + row * moved.args().ldqkv;
          CHECK(std::equal(a, a + 96, b, same_bits),
                subject_of(isa, layout, "moved: head " + std::to_string(h) + " row " + std::to_string(row)));
        }
      }
    }
  }
}

TEST_CASE("attention_backward: scratch grows linearly with the sequence, and never falls") {
  for (const Isa isa : isas()) {
    const AttentionBackwardScratchFloats scratch_floats =
        training_kernels(isa).attention_backward_scratch_floats;
    for (const int64_t head_dim : {8, 32, 128}) {
      CHECK(scratch_floats(8192, head_dim) <= 2 * scratch_floats(4096, head_dim) + 4096,
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

}  // namespace
}  // namespace elasticlm::test
