#include <cmath>
#include <vector>

#include "train/losses.h"
#include "train/sums.h"

namespace elasticlm {
namespace {

// to += factor * row
void add_scaled(double factor, const float* row, int64_t size, double* to) {
  for (int64_t i = 0; i < size; ++i) to[i] += factor * row[i];
}

// KL(softmax_j(t_i·t_j / τ) || softmax_j(s_i·t_j / τ)) of one row i over j != i, times `weight`.
double similarity_row(const Embeddings& student, const float* teacher, int64_t i, double temperature,
                      double weight, double share, double* d_row) {
  const int64_t E = student.hidden_size;
  const auto B = static_cast<int64_t>(student.norms.size());
  std::vector<double> log_p;
  std::vector<double> log_t;
  for (int64_t j = 0; j < B; ++j) {
    if (j == i) continue;
    log_p.push_back(dot(student.row(i), teacher + j * E, E) / temperature);
    log_t.push_back(dot(teacher + i * E, teacher + j * E, E) / temperature);
  }
  if (log_p.empty()) return 0.0;
  to_log_softmax(log_p);
  to_log_softmax(log_t);
  double divergence = 0.0;
  for (size_t k = 0; k < log_p.size(); ++k) {
    const double t = std::exp(log_t[k]);
    divergence += t * (log_t[k] - log_p[k]);
    const auto j = static_cast<int64_t>(k) + (static_cast<int64_t>(k) >= i ? 1 : 0);
    add_scaled(share * weight * (std::exp(log_p[k]) - t) / temperature, teacher + j * E, E, d_row);
  }
  return weight * divergence;
}

}  // namespace

double embedding_loss(const EmbeddingTerm& term, const Embeddings& student, const float* teacher,
                      double share, std::vector<double>& d_values, const Compute& compute) {
  const int64_t E = student.hidden_size;
  const auto B = static_cast<int64_t>(student.norms.size());
  std::vector<double> losses(static_cast<size_t>(B));
  compute.for_each(B, [&](int64_t i) {
    const double count = static_cast<double>(B);
    const float* const s = student.row(i);
    const float* const t = teacher + i * E;
    double* const d_row = d_values.data() + i * E;
    double loss = 0.0;
    if (term.cosine_weight != 0.0) {
      loss += term.cosine_weight / count * (1.0 - dot(s, t, E));
      add_scaled(-share * term.cosine_weight / count, t, E, d_row);
    }
    if (term.mse_weight != 0.0) {
      double squares = 0.0;
      for (int64_t e = 0; e < E; ++e) {
        const double difference = static_cast<double>(s[e]) - t[e];
        squares += difference * difference;
        d_row[e] += share * term.mse_weight / count * 2.0 * difference;
      }
      loss += term.mse_weight / count * squares;
    }
    if (term.similarity_weight != 0.0) {
      loss +=
          similarity_row(student, teacher, i, term.temperature, term.similarity_weight / count, share, d_row);
    }
    losses[static_cast<size_t>(i)] = loss;
  });
  return sum_of(losses);
}

double contrastive_loss(const ContrastiveTerm& term, const Embeddings& student, double share,
                        std::vector<double>& d_values, const Compute& compute) {
  const int64_t E = student.hidden_size;
  const int64_t num_queries = term.num_queries;
  const int64_t num_documents = static_cast<int64_t>(student.norms.size()) - num_queries;
  const double weight = term.weight / static_cast<double>(num_queries);
  std::vector<double> losses(static_cast<size_t>(num_queries));
  // Gradients with respect to q_i·d_j.
  std::vector<double> d_scores(static_cast<size_t>(num_queries * num_documents));
  compute.for_each(num_queries, [&](int64_t i) {
    std::vector<double> log_p(static_cast<size_t>(num_documents));
    for (int64_t j = 0; j < num_documents; ++j) {
      log_p[static_cast<size_t>(j)] = dot(student.row(i), student.row(num_queries + j), E) / term.temperature;
    }
    to_log_softmax(log_p);
    losses[static_cast<size_t>(i)] = -weight * log_p[static_cast<size_t>(i)];
    for (int64_t j = 0; j < num_documents; ++j) {
      const double d_score = share * weight / term.temperature *
                             (std::exp(log_p[static_cast<size_t>(j)]) - (i == j ? 1.0 : 0.0));
      d_scores[static_cast<size_t>(i * num_documents + j)] = d_score;
      add_scaled(d_score, student.row(num_queries + j), E, d_values.data() + i * E);
    }
  });
  compute.for_each(num_documents, [&](int64_t j) {
    for (int64_t i = 0; i < num_queries; ++i) {
      add_scaled(d_scores[static_cast<size_t>(i * num_documents + j)], student.row(i), E,
                 d_values.data() + (num_queries + j) * E);
    }
  });
  return sum_of(losses);
}

}  // namespace elasticlm
