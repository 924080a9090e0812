#include "test/reference_gradients.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <memory>
#include <numbers>

#include "core/dtype.h"
#include "model/seeded_normal.h"

namespace elasticlm::test {
namespace {

// [rows, columns], dense.
template <typename Real>
struct Matrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<Real> data;

  Matrix() = default;
  Matrix(int64_t num_rows, int64_t num_columns)
      : rows(num_rows), columns(num_columns), data(static_cast<size_t>(num_rows * num_columns)) {}
  Real& at(int64_t r, int64_t c) { return data[static_cast<size_t>(r * columns + c)]; }
  Real at(int64_t r, int64_t c) const { return data[static_cast<size_t>(r * columns + c)]; }
};

template <typename Real>
class Pass {
 public:
  Pass(const ReferenceInput& input, bool rounds)
      : input_(input), rounds_(rounds), gradients_(input.values.size()) {
    heads_.resize(static_cast<size_t>(config().num_layers * config().num_heads));
    neurons_.resize(static_cast<size_t>(config().num_layers * config().intermediate_size));
  }

  const Matrix<Real>& forward() {
    embed();
    for (int64_t l = 0; l < config().num_layers; ++l) forward_layer(l);
    return saved_.back().x2;
  }

  void backward(Matrix<Real> d_hidden) {
    for (int64_t l = config().num_layers - 1; l >= 0; --l) d_hidden = backward_layer(l, d_hidden);
    const ParameterLayout& layout = input_.layout;
    const Matrix<Real> d_sum = backward_norm(layout.embedding_layer_norm, embedding_sum_, d_hidden);
    for (int64_t r = 0; r < d_sum.rows; ++r) {
      for (int64_t e = 0; e < d_sum.columns; ++e) {
        gradient(layout.word_embeddings, input_.batch.input_ids[static_cast<size_t>(r)], e) += d_sum.at(r, e);
        gradient(layout.position_embeddings, position_[static_cast<size_t>(r)], e) += d_sum.at(r, e);
        gradient(layout.token_type_embeddings, input_.batch.token_type_ids[static_cast<size_t>(r)], e) +=
            d_sum.at(r, e);
      }
    }
  }

  ReferenceGradients result() const {
    const Matrix<Real>& hidden = saved_.back().x2;
    return {.hidden = {hidden.data.begin(), hidden.data.end()},
            .parameters = {gradients_.begin(), gradients_.end()},
            .heads = heads_,
            .neurons = neurons_};
  }

 private:
  struct Layer {
    Matrix<Real> x0, qkv, context, attn_sum, x1, before_gelu, activated, ffn_sum, x2;
  };

  const EncoderConfig& config() const { return input_.layout.config; }
  int64_t num_tokens() const { return input_.batch.num_tokens(); }
  const LayerStructure& kept(int64_t l) const { return input_.structure.layers[static_cast<size_t>(l)]; }
  const LayerSlots& slots(int64_t l) const { return input_.layout.layers[static_cast<size_t>(l)]; }
  Real value(const ParameterSlot& slot, int64_t r, int64_t c) const {
    return static_cast<Real>(input_.values[static_cast<size_t>(slot.offset + r * slot.columns + c)]);
  }
  Real& gradient(const ParameterSlot& slot, int64_t r, int64_t c) {
    return gradients_[static_cast<size_t>(slot.offset + r * slot.columns + c)];
  }
  Real head_mask(int64_t l, int64_t h) const {
    return input_.head_mask.empty()
               ? Real{1}
               : static_cast<Real>(input_.head_mask[static_cast<size_t>(l * config().num_heads + h)]);
  }
  Real neuron_mask(int64_t l, int64_t f) const {
    return input_.neuron_mask.empty()
               ? Real{1}
               : static_cast<Real>(
                     input_.neuron_mask[static_cast<size_t>(l * config().intermediate_size + f)]);
  }
  // What a product multiplies.
  Real operand(Real value) const {
    return rounds_ ? static_cast<Real>(bf16_to_f32(f32_to_bf16(static_cast<float>(value)))) : value;
  }
  Matrix<Real> operands(const Matrix<Real>& x) const {
    Matrix<Real> y = x;
    for (Real& value : y.data) value = operand(value);
    return y;
  }
  Matrix<Real> weight(const ParameterSlot& slot, int64_t num_rows) const {
    Matrix<Real> w(num_rows, slot.columns);
    for (int64_t r = 0; r < w.rows; ++r) {
      for (int64_t c = 0; c < w.columns; ++c) w.at(r, c) = operand(value(slot, r, c));
    }
    return w;
  }

  // x [., E] to the first `width` rows of W [R, E]; and the other way; and the gradient of W.
  Matrix<Real> to_rows(const Matrix<Real>& x, const ParameterSlot& slot, int64_t width) const {
    const Matrix<Real> w = weight(slot, width);
    const Matrix<Real> a = operands(x);
    Matrix<Real> y(x.rows, width);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t n = 0; n < width; ++n) {
        Real sum = 0;
        for (int64_t e = 0; e < w.columns; ++e) sum += a.at(r, e) * w.at(n, e);
        y.at(r, n) = sum;
      }
    }
    return y;
  }
  Matrix<Real> to_columns(const Matrix<Real>& x, const ParameterSlot& slot) const {
    const Matrix<Real> w = weight(slot, x.columns);
    const Matrix<Real> a = operands(x);
    Matrix<Real> y(x.rows, w.columns);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t n = 0; n < x.columns; ++n) {
        for (int64_t e = 0; e < w.columns; ++e) y.at(r, e) += a.at(r, n) * w.at(n, e);
      }
    }
    return y;
  }
  void add_weight_gradient(const ParameterSlot& slot, const Matrix<Real>& rows, const Matrix<Real>& columns) {
    const Matrix<Real> a = operands(rows);
    const Matrix<Real> b = operands(columns);
    for (int64_t r = 0; r < a.rows; ++r) {
      for (int64_t n = 0; n < a.columns; ++n) {
        for (int64_t e = 0; e < b.columns; ++e) gradient(slot, n, e) += a.at(r, n) * b.at(r, e);
      }
    }
  }
  void add_bias(Matrix<Real>& x, const ParameterSlot& slot) const {
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.columns; ++c) x.at(r, c) += value(slot, 0, c);
    }
  }
  void add_bias_gradient(const ParameterSlot& slot, const Matrix<Real>& dx) {
    for (int64_t r = 0; r < dx.rows; ++r) {
      for (int64_t c = 0; c < dx.columns; ++c) gradient(slot, 0, c) += dx.at(r, c);
    }
  }
  static void add(Matrix<Real>& to, const Matrix<Real>& from) {
    for (size_t i = 0; i < to.data.size(); ++i) to.data[i] += from.data[i];
  }

  struct Moments {
    Real mean;
    Real rstd;
  };
  Moments moments(const Matrix<Real>& x, int64_t r) const {
    const auto E = static_cast<Real>(x.columns);
    Real mean = 0;
    for (int64_t e = 0; e < x.columns; ++e) mean += x.at(r, e);
    mean /= E;
    Real variance = 0;
    for (int64_t e = 0; e < x.columns; ++e) variance += (x.at(r, e) - mean) * (x.at(r, e) - mean);
    return {mean, 1 / std::sqrt(variance / E + static_cast<Real>(config().layer_norm_eps))};
  }
  Matrix<Real> norm(const LayerNormSlots& slots, const Matrix<Real>& x) const {
    Matrix<Real> y(x.rows, x.columns);
    for (int64_t r = 0; r < x.rows; ++r) {
      const Moments row = moments(x, r);
      for (int64_t e = 0; e < x.columns; ++e)
        y.at(r, e) = (x.at(r, e) - row.mean) * row.rstd * value(slots.gamma, 0, e) + value(slots.beta, 0, e);
    }
    return y;
  }
  Matrix<Real> backward_norm(const LayerNormSlots& slots, const Matrix<Real>& x, const Matrix<Real>& dy) {
    Matrix<Real> dx(x.rows, x.columns);
    const auto E = static_cast<Real>(x.columns);
    for (int64_t r = 0; r < x.rows; ++r) {
      const Moments row = moments(x, r);
      Real mean_g = 0;
      Real mean_gx = 0;
      for (int64_t e = 0; e < x.columns; ++e) {
        const Real normed = (x.at(r, e) - row.mean) * row.rstd;
        const Real g = dy.at(r, e) * value(slots.gamma, 0, e);
        gradient(slots.gamma, 0, e) += dy.at(r, e) * normed;
        gradient(slots.beta, 0, e) += dy.at(r, e);
        mean_g += g / E;
        mean_gx += g * normed / E;
      }
      for (int64_t e = 0; e < x.columns; ++e) {
        const Real normed = (x.at(r, e) - row.mean) * row.rstd;
        dx.at(r, e) = row.rstd * (dy.at(r, e) * value(slots.gamma, 0, e) - mean_g - normed * mean_gx);
      }
    }
    return dx;
  }

  void embed() {
    const ParameterLayout& layout = input_.layout;
    embedding_sum_ = Matrix<Real>(num_tokens(), config().hidden_size);
    for (int64_t i = 0; i < input_.batch.num_sequences(); ++i) {
      const int32_t begin = input_.batch.cu_seqlens[static_cast<size_t>(i)];
      for (int32_t r = begin; r < input_.batch.cu_seqlens[static_cast<size_t>(i) + 1]; ++r) {
        position_.push_back(r - begin);
        for (int64_t e = 0; e < config().hidden_size; ++e) {
          embedding_sum_.at(r, e) =
              value(layout.word_embeddings, input_.batch.input_ids[static_cast<size_t>(r)], e) +
              value(layout.position_embeddings, r - begin, e) +
              value(layout.token_type_embeddings, input_.batch.token_type_ids[static_cast<size_t>(r)], e);
        }
      }
    }
    saved_.resize(static_cast<size_t>(config().num_layers));
    saved_.front().x0 = norm(layout.embedding_layer_norm, embedding_sum_);
  }

  // visit(first row, rows, head) for all kept heads.
  template <typename Visit>
  void for_each_head(int64_t l, const Visit& visit) const {
    for (int64_t i = 0; i < input_.batch.num_sequences(); ++i) {
      const int64_t begin = input_.batch.cu_seqlens[static_cast<size_t>(i)];
      const int64_t end = input_.batch.cu_seqlens[static_cast<size_t>(i) + 1];
      for (int64_t h = 0; h < kept(l).num_heads; ++h) visit(begin, end - begin, h);
    }
  }
  Matrix<Real> attention_weights(const Matrix<Real>& qkv, int64_t first, int64_t S, int64_t h) const {
    const int64_t D = config().head_dim();
    Matrix<Real> p(S, S);
    for (int64_t i = 0; i < S; ++i) {
      Real largest = -std::numeric_limits<Real>::infinity();
      for (int64_t j = 0; j < S; ++j) {
        Real score = 0;
        for (int64_t d = 0; d < D; ++d)
          score += qkv.at(first + i, h * 3 * D + d) * qkv.at(first + j, h * 3 * D + D + d);
        p.at(i, j) = score * scale();
        largest = std::max(largest, p.at(i, j));
      }
      Real sum = 0;
      for (int64_t j = 0; j < S; ++j) sum += p.at(i, j) = std::exp(p.at(i, j) - largest);
      for (int64_t j = 0; j < S; ++j) p.at(i, j) /= sum;
    }
    return p;
  }
  Real scale() const { return 1 / std::sqrt(static_cast<Real>(config().head_dim())); }

  static Real phi(Real x) { return (1 + std::erf(x / std::numbers::sqrt2_v<Real>)) / 2; }
  static Real density(Real x) {
    return std::exp(-x * x / 2) * std::numbers::inv_sqrtpi_v<Real> / std::numbers::sqrt2_v<Real>;
  }

  void forward_layer(int64_t l) {
    Layer& layer = saved_[static_cast<size_t>(l)];
    const LayerSlots& at = slots(l);
    const int64_t D = config().head_dim();
    const int64_t num_heads = kept(l).num_heads;
    layer.attn_sum = layer.x0;
    if (num_heads > 0) {
      layer.qkv = to_rows(layer.x0, at.qkv, num_heads * 3 * D);
      add_bias(layer.qkv, at.qkv_bias);
      layer.context = Matrix<Real>(num_tokens(), num_heads * D);
      for_each_head(l, [&](int64_t first, int64_t S, int64_t h) {
        const Matrix<Real> p = attention_weights(layer.qkv, first, S, h);
        for (int64_t i = 0; i < S; ++i) {
          for (int64_t d = 0; d < D; ++d) {
            Real sum = 0;
            for (int64_t j = 0; j < S; ++j)
              sum += p.at(i, j) * layer.qkv.at(first + j, h * 3 * D + 2 * D + d);
            layer.context.at(first + i, h * D + d) = sum * head_mask(l, h);
          }
        }
      });
      Matrix<Real> projected = to_columns(layer.context, at.attn_out_t);
      add_bias(projected, at.attn_out_bias);
      add(layer.attn_sum, projected);
    }
    layer.x1 = norm(at.attn_layer_norm, layer.attn_sum);
    layer.ffn_sum = layer.x1;
    if (kept(l).num_neurons > 0) {
      layer.before_gelu = to_rows(layer.x1, at.ffn_up, kept(l).num_neurons);
      add_bias(layer.before_gelu, at.ffn_up_bias);
      layer.activated = layer.before_gelu;
      for (int64_t r = 0; r < num_tokens(); ++r) {
        for (int64_t f = 0; f < kept(l).num_neurons; ++f) {
          Real& y = layer.activated.at(r, f);
          y = y * phi(y) * neuron_mask(l, f);
        }
      }
      Matrix<Real> projected = to_columns(layer.activated, at.ffn_down_t);
      add_bias(projected, at.ffn_down_bias);
      add(layer.ffn_sum, projected);
    }
    layer.x2 = norm(at.ffn_layer_norm, layer.ffn_sum);
    if (l + 1 < config().num_layers) saved_[static_cast<size_t>(l) + 1].x0 = layer.x2;
  }

  Matrix<Real> backward_layer(int64_t l, const Matrix<Real>& d_x2) {
    const Layer& layer = saved_[static_cast<size_t>(l)];
    const LayerSlots& at = slots(l);
    const Matrix<Real> d_ffn_sum = backward_norm(at.ffn_layer_norm, layer.ffn_sum, d_x2);
    Matrix<Real> d_x1 = d_ffn_sum;
    if (kept(l).num_neurons > 0) {
      add_bias_gradient(at.ffn_down_bias, d_ffn_sum);
      add_weight_gradient(at.ffn_down_t, layer.activated, d_ffn_sum);
      Matrix<Real> d_ffn = to_rows(d_ffn_sum, at.ffn_down_t, kept(l).num_neurons);
      for (int64_t r = 0; r < num_tokens(); ++r) {
        for (int64_t f = 0; f < kept(l).num_neurons; ++f) {
          const Real u = layer.before_gelu.at(r, f);
          neurons_[static_cast<size_t>(l * config().intermediate_size + f)] +=
              static_cast<double>(d_ffn.at(r, f)) * static_cast<double>(u * phi(u));
          d_ffn.at(r, f) *= neuron_mask(l, f) * (phi(u) + u * density(u));
        }
      }
      add_bias_gradient(at.ffn_up_bias, d_ffn);
      add_weight_gradient(at.ffn_up, d_ffn, layer.x1);
      add(d_x1, to_columns(d_ffn, at.ffn_up));
    }
    const Matrix<Real> d_attn_sum = backward_norm(at.attn_layer_norm, layer.attn_sum, d_x1);
    if (kept(l).num_heads == 0) return d_attn_sum;
    add_bias_gradient(at.attn_out_bias, d_attn_sum);
    add_weight_gradient(at.attn_out_t, layer.context, d_attn_sum);
    const Matrix<Real> d_qkv =
        backward_attention(l, to_rows(d_attn_sum, at.attn_out_t, layer.context.columns));
    add_bias_gradient(at.qkv_bias, d_qkv);
    add_weight_gradient(at.qkv, d_qkv, layer.x0);
    Matrix<Real> d_x0 = to_columns(d_qkv, at.qkv);
    add(d_x0, d_attn_sum);
    return d_x0;
  }

  Matrix<Real> backward_attention(int64_t l, const Matrix<Real>& d_context) {
    const Matrix<Real>& qkv = saved_[static_cast<size_t>(l)].qkv;
    const int64_t D = config().head_dim();
    Matrix<Real> d_qkv(qkv.rows, qkv.columns);
    for_each_head(l, [&](int64_t first, int64_t S, int64_t h) {
      const int64_t q = h * 3 * D;
      const int64_t k = q + D;
      const int64_t v = k + D;
      const Matrix<Real> p = attention_weights(qkv, first, S, h);
      for (int64_t i = 0; i < S; ++i) {
        std::vector<Real> d_p(static_cast<size_t>(S));
        Real mean = 0;
        for (int64_t j = 0; j < S; ++j) {
          Real& at = d_p[static_cast<size_t>(j)];
          for (int64_t d = 0; d < D; ++d) at += d_context.at(first + i, h * D + d) * qkv.at(first + j, v + d);
          heads_[static_cast<size_t>(l * config().num_heads + h)] += static_cast<double>(p.at(i, j) * at);
          at *= head_mask(l, h);
          mean += p.at(i, j) * at;
        }
        for (int64_t j = 0; j < S; ++j) {
          const Real d_score = p.at(i, j) * (d_p[static_cast<size_t>(j)] - mean) * scale();
          for (int64_t d = 0; d < D; ++d) {
            d_qkv.at(first + j, v + d) += p.at(i, j) * d_context.at(first + i, h * D + d) * head_mask(l, h);
            d_qkv.at(first + i, q + d) += d_score * qkv.at(first + j, k + d);
            d_qkv.at(first + j, k + d) += d_score * qkv.at(first + i, q + d);
          }
        }
      }
    });
    return d_qkv;
  }

  const ReferenceInput& input_;
  const bool rounds_;
  std::vector<int32_t> position_;
  Matrix<Real> embedding_sum_;
  std::vector<Layer> saved_;
  std::vector<Real> gradients_;
  std::vector<double> heads_;
  std::vector<double> neurons_;
};

template <typename Real>
ReferenceGradients gradients_in(const ReferenceInput& input, std::span<const double> d_hidden, bool rounds) {
  Pass<Real> pass(input, rounds);
  pass.forward();
  Matrix<Real> d_rows(input.batch.num_tokens(), input.layout.config.hidden_size);
  std::copy(d_hidden.begin(), d_hidden.end(), d_rows.data.begin());
  pass.backward(d_rows);
  return pass.result();
}

}  // namespace

std::vector<double> reference_forward(const ReferenceInput& input) {
  return Pass<double>(input, false).forward().data;
}

ReferenceGradients reference_gradients(const ReferenceInput& input, std::span<const double> d_hidden,
                                       GradientArithmetic arithmetic) {
  return arithmetic == GradientArithmetic::kF64
             ? gradients_in<double>(input, d_hidden, false)
             : gradients_in<float>(input, d_hidden, arithmetic == GradientArithmetic::kNaiveBf16);
}

void fill_randomly(uint64_t seed, ParameterSet& parameters) {
  for (const ParameterSlot* const slot : parameters.layout().slots()) {
    SeededNormal normal(seed, slot->name);
    const bool is_gamma = slot->name.ends_with(".gamma");
    const float deviation =
        slot->rows == 1 ? 0.1f : 1.0f / std::sqrt(static_cast<float>(parameters.layout().config.hidden_size));
    for (int64_t i = 0; i < slot->size(); ++i)
      parameters.at(*slot)[i] = (is_gamma ? 1.0f : 0.0f) + deviation * normal.next();
  }
}

std::vector<double> widened(std::span<const float> values) { return {values.begin(), values.end()}; }

void run_job(ThreadPool& pool, const std::function<void(const TrainThreads&)>& body,
             const std::atomic<bool>* aborted) {
  // Shared: set_value may still be returning when the wait has ended.
  const auto ended = std::make_shared<std::promise<void>>();
  pool.submit([&, ended](int worker_idx) {
    try {
      body({pool, worker_idx, aborted});
      ended->set_value();
    } catch (...) {
      ended->set_exception(std::current_exception());
    }
  });
  ended->get_future().get();
}

}  // namespace elasticlm::test
