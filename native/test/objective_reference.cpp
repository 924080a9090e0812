#include "test/objective_reference.h"

#include <algorithm>
#include <cmath>

namespace elasticlm::test {
namespace {

using Vector = std::vector<double>;

Vector log_softmax(Vector x, double temperature = 1.0) {
  for (double& value : x) value /= temperature;
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (const double value : x) sum += std::exp(value - largest);
  for (double& value : x) value -= largest + std::log(sum);
  return x;
}

double divergence(const Vector& teacher, const Vector& student, double temperature) {
  if (student.empty()) return 0.0;
  const Vector log_t = log_softmax(teacher, temperature);
  const Vector log_p = log_softmax(student, temperature);
  double sum = 0.0;
  for (size_t i = 0; i < log_t.size(); ++i) sum += std::exp(log_t[i]) * (log_t[i] - log_p[i]);
  return sum;
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

template <typename T>
Vector slice(const std::vector<T>& values, int64_t begin, int64_t size) {
  return Vector(values.begin() + begin, values.begin() + begin + size);
}

class Reference {
 public:
  Reference(const ReferenceInputs& inputs, const Vector& hidden, const Vector& parameters)
      : in_(inputs),
        objective_(inputs.objective),
        hidden_(hidden),
        parameters_(parameters),
        E_(inputs.layout.config.hidden_size),
        B_(inputs.batch.num_sequences()),
        T_(inputs.batch.num_tokens()) {}

  Losses losses() const {
    Losses losses;
    if (B_ == 0) return losses;
    add_embeddings(losses);
    if (objective_.needs_logits()) add_logits(losses);
    losses.hidden = objective_.hidden.weight == 0.0 ? 0.0 : objective_.hidden.weight * hidden_loss();
    losses.relation = objective_.relation.weight == 0.0 ? 0.0 : objective_.relation.weight * relation_loss();
    losses.mlm = objective_.mlm.weight == 0.0 ? 0.0 : objective_.mlm.weight * mlm_loss();
    losses.total = losses.embedding + losses.contrastive + losses.classification + losses.regression +
                   losses.logits + losses.ranking + losses.hidden + losses.relation + losses.mlm;
    return losses;
  }

 private:
  int64_t row(int64_t sequence) const { return in_.batch.cu_seqlens[static_cast<size_t>(sequence)]; }
  Vector token(int64_t t) const { return slice(hidden_, t * E_, E_); }
  // W x + b
  Vector linear(const Vector& x, const ParameterSlot& weight, const ParameterSlot& bias) const {
    Vector y(static_cast<size_t>(weight.rows));
    for (int64_t n = 0; n < weight.rows; ++n) {
      const auto at = static_cast<size_t>(n);
      y[at] = parameters_[static_cast<size_t>(bias.offset + n)];
      for (int64_t k = 0; k < weight.columns; ++k) {
        y[at] += parameters_[static_cast<size_t>(weight.offset + n * weight.columns + k)] *
                 x[static_cast<size_t>(k)];
      }
    }
    return y;
  }

  std::vector<Vector> embeddings() const {
    std::vector<Vector> all;
    for (int64_t b = 0; b < B_; ++b) {
      const int64_t end = objective_.pooling == Pooling::kCls ? row(b) + 1 : row(b + 1);
      Vector pooled(static_cast<size_t>(E_));
      for (int64_t t = row(b); t < end; ++t) {
        for (int64_t e = 0; e < E_; ++e)
          pooled[static_cast<size_t>(e)] += hidden_[static_cast<size_t>(t * E_ + e)];
      }
      if (objective_.pooling == Pooling::kMean) {
        for (double& value : pooled) value /= static_cast<double>(end - row(b));
      }
      if (in_.adapter_idx >= 0) {
        const AdapterSlots& adapter = in_.layout.head.adapters[static_cast<size_t>(in_.adapter_idx)];
        const Vector adapted = linear(pooled, adapter.weight, adapter.bias);
        for (size_t e = 0; e < pooled.size(); ++e) pooled[e] += adapted[e];
      }
      const double length = std::sqrt(dot(pooled, pooled));
      for (double& value : pooled) value = length == 0.0 ? 0.0 : value / length;
      all.push_back(pooled);
    }
    return all;
  }

  void add_embeddings(Losses& losses) const {
    const EmbeddingTerm& term = objective_.embedding;
    const std::vector<Vector> s = embeddings();
    const double count = static_cast<double>(B_);
    if (term.cosine_weight + term.mse_weight + term.similarity_weight != 0.0) {
      std::vector<Vector> t;
      for (int64_t b = 0; b < B_; ++b) t.push_back(slice(in_.teacher.embeddings, b * E_, E_));
      for (size_t i = 0; i < s.size(); ++i) {
        Vector difference = s[i];
        for (size_t e = 0; e < difference.size(); ++e) difference[e] -= t[i][e];
        Vector of_student;
        Vector of_teacher;
        for (size_t j = 0; j < s.size(); ++j) {
          if (j == i) continue;
          of_student.push_back(dot(s[i], t[j]));
          of_teacher.push_back(dot(t[i], t[j]));
        }
        losses.embedding +=
            (term.cosine_weight * (1.0 - dot(s[i], t[i])) + term.mse_weight * dot(difference, difference) +
             term.similarity_weight * divergence(of_teacher, of_student, term.temperature)) /
            count;
      }
    }
    const ContrastiveTerm& contrastive = objective_.contrastive;
    if (contrastive.weight == 0.0) return;
    const auto num_queries = static_cast<size_t>(contrastive.num_queries);
    for (size_t i = 0; i < num_queries; ++i) {
      Vector scores;
      for (size_t j = num_queries; j < s.size(); ++j) scores.push_back(dot(s[i], s[j]));
      losses.contrastive -= contrastive.weight / static_cast<double>(num_queries) *
                            log_softmax(scores, contrastive.temperature)[i];
    }
  }

  void add_logits(Losses& losses) const {
    const HeadSlots& head = in_.layout.head;
    const int64_t num_labels = in_.layout.heads.num_labels;
    const double count = static_cast<double>(B_);
    std::vector<Vector> logits;
    for (int64_t b = 0; b < B_; ++b) {
      Vector pooled = linear(token(row(b)), head.pooler, head.pooler_bias);
      for (double& value : pooled) value = std::tanh(value);
      logits.push_back(linear(pooled, head.classifier, head.classifier_bias));
    }
    for (size_t b = 0; b < logits.size(); ++b) {
      if (objective_.classification.weight != 0.0) {
        const auto label = static_cast<size_t>(objective_.classification.labels[b]);
        losses.classification -= objective_.classification.weight * log_softmax(logits[b])[label] / count;
      }
      if (objective_.regression.weight != 0.0) {
        const double difference = logits[b][0] - objective_.regression.targets[b];
        losses.regression += objective_.regression.weight * difference * difference / count;
      }
      if (objective_.logits.weight != 0.0) {
        const Vector t = slice(in_.teacher.logits, static_cast<int64_t>(b) * num_labels, num_labels);
        const double tau = objective_.logits.temperature;
        const double loss = num_labels == 1 ? (logits[b][0] - t[0]) * (logits[b][0] - t[0])
                                            : tau * tau * divergence(t, logits[b], tau);
        losses.logits += objective_.logits.weight * loss / count;
      }
    }
    if (objective_.ranking.label_weight + objective_.ranking.teacher_weight != 0.0) {
      losses.ranking = ranking_loss(logits);
    }
  }

  double ranking_loss(const std::vector<Vector>& logits) const {
    const RankingTerm& term = objective_.ranking;
    double of_labels = 0.0;
    double of_teacher = 0.0;
    double num_labelled = 0.0;
    for (size_t list = 0; list + 1 < term.cu_lists.size(); ++list) {
      const int64_t begin = term.cu_lists[list];
      const int64_t size = term.cu_lists[list + 1] - begin;
      Vector scores;
      for (int64_t i = 0; i < size; ++i) scores.push_back(logits[static_cast<size_t>(begin + i)][0]);
      if (term.teacher_weight != 0.0) {
        of_teacher += divergence(slice(in_.teacher.logits, begin, size), scores, term.temperature);
      }
      if (term.label_weight == 0.0) continue;
      double positives = 0.0;
      double loss = 0.0;
      for (int64_t i = 0; i < size; ++i) {
        const double label = term.labels[static_cast<size_t>(begin + i)];
        positives += label;
        loss -= label * log_softmax(scores)[static_cast<size_t>(i)];
      }
      if (positives == 0.0) continue;
      of_labels += loss / positives;
      num_labelled += 1.0;
    }
    const double num_lists = static_cast<double>(term.cu_lists.size() - 1);
    return term.teacher_weight * of_teacher / num_lists +
           (num_labelled == 0.0 ? 0.0 : term.label_weight * of_labels / num_labelled);
  }

  double hidden_loss() const {
    double sum = 0.0;
    for (size_t i = 0; i < hidden_.size(); ++i) {
      sum += (hidden_[i] - in_.teacher.hidden[i]) * (hidden_[i] - in_.teacher.hidden[i]);
    }
    return sum / static_cast<double>(hidden_.size());
  }

  double relation_loss() const {
    const int64_t num_heads = objective_.relation.num_relation_heads;
    const int64_t d = E_ / num_heads;
    std::vector<Vector> projected;
    for (int64_t t = 0; t < T_; ++t) {
      projected.push_back(linear(token(t), in_.layout.head.relation, in_.layout.head.relation_bias));
    }
    double sum = 0.0;
    for (int64_t b = 0; b < B_; ++b) {
      double of_sequence = 0.0;
      for (int64_t head = 0; head < 3 * num_heads; ++head) {
        const int64_t column = head * d;  // of q | k | v
        const int64_t part = column / E_;
        for (int64_t i = row(b); i < row(b + 1); ++i) {
          Vector of_student;
          Vector of_teacher;
          for (int64_t j = row(b); j < row(b + 1); ++j) {
            of_student.push_back(dot(slice(projected[static_cast<size_t>(i)], column, d),
                                     slice(projected[static_cast<size_t>(j)], column, d)));
            const auto teacher = [&](int64_t t) {
              return slice(in_.teacher.qkv, (part * T_ + t) * E_ + column - part * E_, d);
            };
            of_teacher.push_back(dot(teacher(i), teacher(j)));
          }
          of_sequence += divergence(of_teacher, of_student, std::sqrt(static_cast<double>(d)));
        }
      }
      sum += of_sequence / static_cast<double>(num_heads * (row(b + 1) - row(b)));
    }
    return sum / static_cast<double>(B_);
  }

  double mlm_loss() const {
    const HeadSlots& head = in_.layout.head;
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t t = 0; t < T_; ++t) {
      const int32_t label = objective_.mlm.labels[static_cast<size_t>(t)];
      if (label < 0) continue;
      Vector x = linear(token(t), head.mlm_transform, head.mlm_transform_bias);
      double mean = 0.0;
      for (double& value : x) {
        value = 0.5 * value * std::erfc(-value * std::sqrt(0.5));
        mean += value / static_cast<double>(E_);
      }
      double variance = 0.0;
      for (const double value : x) variance += (value - mean) * (value - mean) / static_cast<double>(E_);
      const double rstd = 1.0 / std::sqrt(variance + in_.layout.config.layer_norm_eps);
      for (int64_t e = 0; e < E_; ++e) {
        const auto at = static_cast<size_t>(e);
        x[at] =
            (x[at] - mean) * rstd * parameters_[static_cast<size_t>(head.mlm_layer_norm.gamma.offset + e)] +
            parameters_[static_cast<size_t>(head.mlm_layer_norm.beta.offset + e)];
      }
      sum -= log_softmax(linear(x, in_.layout.word_embeddings, head.mlm_bias))[static_cast<size_t>(label)];
      ++count;
    }
    return count == 0 ? 0.0 : sum / static_cast<double>(count);
  }

  const ReferenceInputs& in_;
  const Objective& objective_;
  const Vector& hidden_;
  const Vector& parameters_;
  int64_t E_;
  int64_t B_;
  int64_t T_;
};

}  // namespace

Losses reference_losses(const ReferenceInputs& inputs, const std::vector<double>& hidden,
                        const std::vector<double>& parameters) {
  return Reference(inputs, hidden, parameters).losses();
}

}  // namespace elasticlm::test
