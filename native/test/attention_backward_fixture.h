// attention_backward in exact numbers, and sequences for its tests.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention_backward.h"
#include "test/kernel_support.h"

namespace elasticlm::test {

// q, k, v of one head and the gradient of its context, as numbers: [S, D] each.
struct AttentionHead {
  int64_t num_rows = 0;
  int64_t head_dim = 0;
  double scale = 0.0;
  std::vector<double> q, k, v, dcontext;

  double at(const std::vector<double>& matrix, int64_t row, int64_t d) const {
    return matrix[static_cast<size_t>(row * head_dim + d)];
  }
};

// Σ dcontext * context: what dq, dk and dv are the gradients of.
double exact_loss(const AttentionHead& head);

// dq, dk and dv of one head, [S, D] each, with their tolerances.
using AttentionGradients = std::array<std::vector<Bound>, 3>;

AttentionGradients exact_gradients(const AttentionHead& head);

struct AttentionLayout {
  int64_t num_rows = 0;
  int64_t head_dim = 0;
  int64_t num_heads = 2;
  int64_t row_padding = 16;     // elements between the rows of a head
  int64_t head_padding = 24;    // elements between heads
  int64_t context_padding = 6;  // elements between the rows of dcontext
};

// One sequence's q | k | v and dcontext, poisoned in every place that a kernel has no business with; the last
// rows end the memory, so that a sanitizer sees a read past them.
class AttentionSequence {
 public:
  // The same element of the four rows of a head.
  struct Elements {
    float* q;
    float* k;
    float* v;
    float* dcontext;
  };

  explicit AttentionSequence(const AttentionLayout& layout)
      : layout_(layout),
        qkv_(poisoned(layout.num_heads * head_stride() - layout.head_padding - layout.row_padding)),
        dcontext_(poisoned(layout.num_rows * lddcontext() - layout.context_padding)) {}

  // Calls fill(head, row, elements) for every d.
  template <typename Fill>
  void fill(const Fill& fill) {
    for (int64_t h = 0; h < layout_.num_heads; ++h) {
      for (int64_t row = 0; row < layout_.num_rows; ++row) {
        float* const q = qkv_.data() + h * head_stride() + row * ldqkv();
        float* const dcontext = dcontext_.data() + row * lddcontext() + h * layout_.head_dim;
        for (int64_t d = 0; d < layout_.head_dim; ++d) {
          fill(h, row, Elements{q + d, q + layout_.head_dim + d, q + 2 * layout_.head_dim + d, dcontext + d});
        }
      }
    }
  }

  AttentionHead head(int64_t h) const {
    AttentionHead head;
    head.num_rows = layout_.num_rows;
    head.head_dim = layout_.head_dim;
    head.scale = args().scale;
    for (int64_t row = 0; row < layout_.num_rows; ++row) {
      const float* next = qkv_.data() + h * head_stride() + row * ldqkv();
      for (std::vector<double>* part : {&head.q, &head.k, &head.v}) {
        part->insert(part->end(), next, next + layout_.head_dim);
        next += layout_.head_dim;
      }
      const float* dcontext = dcontext_.data() + row * lddcontext() + h * layout_.head_dim;
      head.dcontext.insert(head.dcontext.end(), dcontext, dcontext + layout_.head_dim);
    }
    return head;
  }

  AttentionBackwardArgs args() const {
    AttentionBackwardArgs args;
    args.qkv = qkv_.data();
    args.dcontext = dcontext_.data();
    args.head_stride = head_stride();
    args.ldqkv = ldqkv();
    args.lddcontext = lddcontext();
    args.num_rows = layout_.num_rows;
    args.head_dim = layout_.head_dim;
    args.head_end = layout_.num_heads;
    args.scale = 1.0f / std::sqrt(static_cast<float>(layout_.head_dim));
    return args;
  }

  const AttentionLayout& layout() const { return layout_; }
  std::vector<float> poisoned_gradients() const { return poisoned(static_cast<int64_t>(qkv_.size())); }

 private:
  int64_t ldqkv() const { return 3 * layout_.head_dim + layout_.row_padding; }
  int64_t head_stride() const { return layout_.num_rows * ldqkv() + layout_.head_padding; }
  int64_t lddcontext() const { return layout_.num_heads * layout_.head_dim + layout_.context_padding; }

  AttentionLayout layout_;
  std::vector<float> qkv_;
  std::vector<float> dcontext_;
};

// All of it normal numbers.
AttentionSequence normal_sequence(const AttentionLayout& layout, uint64_t seed);

}  // namespace elasticlm::test
