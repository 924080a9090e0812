#include <algorithm>
#include <cmath>
#include <vector>

#include "train/losses.h"
#include "train/sums.h"

namespace elasticlm {
namespace {

// Rows of hidden states whose squares are summed at once: enough work for a chunk, few enough to share.
constexpr int64_t kHiddenRows = 64;

// Relation heads of one chunk: at 64 tokens still some hundred microseconds of work.
constexpr int64_t kRelationHeads = 8;

// d += factor * (s - t); returns Σ (s - t)².
double add_differences(const float* s, const float* t, int64_t size, float factor, float* d) {
  return sum_terms(size, [&](int64_t i) {
    const float difference = s[i] - t[i];
    d[i] += factor * difference;
    return static_cast<double>(difference) * difference;
  });
}

// One relation head of one sequence: S rows of d columns of student and teacher, and where the gradient of
// the student's goes.
struct RelationHead {
  Rows student;
  Rows teacher;
  int64_t num_rows = 0;        // S
  int64_t head_dim = 0;        // d
  float* d_student = nullptr;  // [S, d], ldd, written
  int64_t ldd = 0;
  double factor = 0;  // of the gradient of Σ_rows KL
};

// Relations of one sequence, head by head, in memory that the heads share.
class RelationTile {
 public:
  RelationTile(int64_t num_rows, int64_t head_dim, const Compute& compute)
      : compute_(compute),
        ld_(round_up(num_rows, kBlockColumns)),
        packed_(floats(round_up(num_rows, kPanelColumns) * round_up(head_dim, kPanelColumns))),
        student_(floats(num_rows * ld_)),
        teacher_(floats(num_rows * ld_)),
        products_(floats(num_rows * round_up(head_dim, kBlockColumns))),
        divergences_(static_cast<size_t>(num_rows)) {}

  // Σ_rows KL(softmax(t tᵀ / √d) || softmax(s sᵀ / √d)). With G = softmax(s sᵀ / √d) - softmax(t tᵀ / √d),
  // the gradient with respect to s is (G + Gᵀ) s / √d.
  double run(const RelationHead& head) {
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head.head_dim)));
    relations(head.student, head, student_.data());
    relations(head.teacher, head, teacher_.data());
    compute_.training.softmax_difference({.x = student_.data(),
                                          .y = teacher_.data(),
                                          .divergences = divergences_.data(),
                                          .num_rows = head.num_rows,
                                          .num_columns = head.num_rows,
                                          .ldx = ld_,
                                          .ldy = ld_,
                                          .scale = scale});
    add_transposed(head.num_rows);
    multiply_student(head, static_cast<float>(head.factor * scale));
    return sum_of(divergences_);
  }

 private:
  // to = x xᵀ
  void relations(const Rows& x, const RelationHead& head, float* to) {
    compute_.training.pack_column_rows({.x = x.data,
                                        .words = bytes_of(packed_),
                                        .precision = Precision::kF32,
                                        .N = head.num_rows,
                                        .K = head.head_dim,
                                        .ldx = x.ld,
                                        .panel_begin = 0,
                                        .panel_end = panels_of(head.num_rows)});
    multiply({.weight = packed(head.num_rows, head.head_dim),
              .x = x,
              .num_rows = head.num_rows,
              .y = to,
              .ldy = ld_},
             compute_.kernels);
  }

  // student_ += student_ᵀ
  void add_transposed(int64_t num_rows) {
    compute_.training.transpose_rows({.x = student_.data(),
                                      .y = teacher_.data(),
                                      .precision = Precision::kF32,
                                      .num_rows = num_rows,
                                      .num_columns = num_rows,
                                      .ldx = ld_,
                                      .ldy = ld_});
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const to = student_.data() + r * ld_;
      const float* const from = teacher_.data() + r * ld_;
      for (int64_t c = 0; c < num_rows; ++c) to[c] += from[c];
    }
  }

  void multiply_student(const RelationHead& head, float factor) {
    const int64_t ld = round_up(head.head_dim, kBlockColumns);
    compute_.training.pack_depth_rows({.x = head.student.data,
                                       .words = bytes_of(packed_),
                                       .precision = Precision::kF32,
                                       .N = head.head_dim,
                                       .K = head.num_rows,
                                       .ldx = head.student.ld,
                                       .panel_begin = 0,
                                       .panel_end = panels_of(head.head_dim)});
    multiply({.weight = packed(head.head_dim, head.num_rows),
              .x = {student_.data(), ld_},
              .num_rows = head.num_rows,
              .y = products_.data(),
              .ldy = ld},
             compute_.kernels);
    for (int64_t r = 0; r < head.num_rows; ++r) {
      float* const to = head.d_student + r * head.ldd;
      const float* const from = products_.data() + r * ld;
      for (int64_t c = 0; c < head.head_dim; ++c) to[c] = factor * from[c];
    }
  }

  PackedMatrixView packed(int64_t N, int64_t K) {
    return {.words = bytes_of(packed_), .K = K, .num_blocks = num_blocks_of(N)};
  }

  const Compute& compute_;
  int64_t ld_;
  AlignedBuffer packed_;   // one head's rows, as columns or as depth
  AlignedBuffer student_;  // [S, S], ld_
  AlignedBuffer teacher_;  // [S, S], ld_
  AlignedBuffer products_;
  std::vector<double> divergences_;
};

}  // namespace

double hidden_loss(const HiddenTerm& term, const TokenLossArgs& args, const float* teacher,
                   const GradientTargets& to, const Compute& compute) {
  const int64_t T = args.batch.num_tokens();
  const int64_t E = args.parameters.layout().config.hidden_size;
  const double weight = term.weight / (static_cast<double>(T) * static_cast<double>(E));
  const auto factor = static_cast<float>(args.share * weight * 2.0);
  std::vector<double> squares(static_cast<size_t>((T + kHiddenRows - 1) / kHiddenRows));
  compute.for_each(static_cast<int64_t>(squares.size()), [&](int64_t chunk) {
    const int64_t begin = chunk * kHiddenRows * E;
    const int64_t size = std::min(kHiddenRows * E, T * E - begin);
    squares[static_cast<size_t>(chunk)] =
        add_differences(args.hidden + begin, teacher + begin, size, factor, to.d_hidden + begin);
  });
  return weight * sum_of(squares);
}

double relation_loss(const RelationTerm& term, const TokenLossArgs& args, const float* teacher_qkv,
                     const GradientTargets& to, const Compute& compute) {
  const ParameterLayout& layout = args.parameters.layout();
  const int64_t T = args.batch.num_tokens();
  const int64_t B = args.batch.num_sequences();
  const int64_t E = layout.config.hidden_size;
  const int64_t num_heads = term.num_relation_heads;
  const int64_t head_dim = E / num_heads;
  const int64_t ld = round_up(3 * E, kBlockColumns);
  AlignedBuffer projected = floats(T * ld);  // q | k | v
  AlignedBuffer d_projected = floats(T * ld);
  dense_forward({.x = {args.hidden, E},
                 .num_rows = T,
                 .weight = args.parameters.at(layout.head.relation),
                 .bias = args.parameters.at(layout.head.relation_bias),
                 .N = 3 * E,
                 .K = E,
                 .y = projected.data(),
                 .ldy = ld},
                compute);

  // One chunk: some heads of q, k or v of one sequence.
  const int64_t chunks_per_part = (num_heads + kRelationHeads - 1) / kRelationHeads;
  std::vector<double> losses(static_cast<size_t>(B * 3 * chunks_per_part));
  compute.for_each(static_cast<int64_t>(losses.size()), [&](int64_t chunk) {
    const auto sequence = static_cast<size_t>(chunk / (3 * chunks_per_part));
    const int64_t part = chunk / chunks_per_part % 3;
    const int64_t head_begin = chunk % chunks_per_part * kRelationHeads;
    const int64_t row = args.batch.cu_seqlens[sequence];
    const int64_t num_rows = args.batch.cu_seqlens[sequence + 1] - row;
    const double weight = term.weight / (static_cast<double>(B) * static_cast<double>(num_heads) *
                                         static_cast<double>(num_rows));
    RelationTile tile(num_rows, head_dim, compute);
    double sum = 0.0;
    for (int64_t h = head_begin; h < std::min(head_begin + kRelationHeads, num_heads); ++h) {
      const int64_t column = part * E + h * head_dim;
      sum += tile.run({.student = {projected.data() + row * ld + column, ld},
                       .teacher = {teacher_qkv + (part * T + row) * E + h * head_dim, E},
                       .num_rows = num_rows,
                       .head_dim = head_dim,
                       .d_student = d_projected.data() + row * ld + column,
                       .ldd = ld,
                       .factor = args.share * weight});
    }
    losses[static_cast<size_t>(chunk)] = weight * sum;
  });

  dense_backward({.dy = {d_projected.data(), ld},
                  .x = {args.hidden, E},
                  .num_rows = T,
                  .weight = args.parameters.at(layout.head.relation),
                  .N = 3 * E,
                  .K = E,
                  .dx = to.d_hidden,
                  .lddx = E,
                  .dweight = to.gradients.at(layout.head.relation),
                  .dbias = to.gradients.at(layout.head.relation_bias)},
                 compute);
  return sum_of(losses);
}

}  // namespace elasticlm
