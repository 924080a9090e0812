#include <cmath>
#include <vector>

#include "train/losses.h"
#include "train/sums.h"

namespace elasticlm {
namespace {

// KL(softmax(teacher / τ) || softmax(student / τ)). d_student += factor times the gradient.
double divergence(const std::vector<double>& student, const std::vector<double>& teacher, double temperature,
                  double factor, double* d_student) {
  std::vector<double> log_p = student;
  std::vector<double> log_t = teacher;
  for (double& value : log_p) value /= temperature;
  for (double& value : log_t) value /= temperature;
  to_log_softmax(log_p);
  to_log_softmax(log_t);
  double sum = 0.0;
  for (size_t i = 0; i < log_p.size(); ++i) {
    const double t = std::exp(log_t[i]);
    sum += t * (log_t[i] - log_p[i]);
    d_student[i] += factor * (std::exp(log_p[i]) - t) / temperature;
  }
  return sum;
}

std::vector<double> label_row(const Logits& logits, int64_t sequence) {
  return {logits.row(sequence), logits.row(sequence) + logits.num_labels};
}

}  // namespace

double classification_loss(const ClassificationTerm& term, const Logits& student, double share,
                           std::vector<double>& d_logits) {
  const double weight = term.weight / static_cast<double>(student.num_sequences);
  double loss = 0.0;
  for (int64_t b = 0; b < student.num_sequences; ++b) {
    std::vector<double> log_p = label_row(student, b);
    to_log_softmax(log_p);
    const auto label = static_cast<size_t>(term.labels[static_cast<size_t>(b)]);
    loss -= weight * log_p[label];
    double* const d_row = d_logits.data() + b * student.num_labels;
    for (size_t k = 0; k < log_p.size(); ++k)
      d_row[k] += share * weight * (std::exp(log_p[k]) - (k == label ? 1.0 : 0.0));
  }
  return loss;
}

double regression_loss(const RegressionTerm& term, const Logits& student, double share,
                       std::vector<double>& d_logits) {
  const double weight = term.weight / static_cast<double>(student.num_sequences);
  double loss = 0.0;
  for (int64_t b = 0; b < student.num_sequences; ++b) {
    const double difference = static_cast<double>(*student.row(b)) - term.targets[static_cast<size_t>(b)];
    loss += weight * difference * difference;
    d_logits[static_cast<size_t>(b)] += share * weight * 2.0 * difference;
  }
  return loss;
}

double logit_loss(const LogitTerm& term, const Logits& student, const float* teacher, double share,
                  std::vector<double>& d_logits) {
  const int64_t num_labels = student.num_labels;
  const double weight = term.weight / static_cast<double>(student.num_sequences);
  double loss = 0.0;
  for (int64_t b = 0; b < student.num_sequences; ++b) {
    const float* const target = teacher + b * num_labels;
    double* const d_row = d_logits.data() + b * num_labels;
    if (num_labels == 1) {
      const double difference = static_cast<double>(*student.row(b)) - *target;
      loss += weight * difference * difference;
      *d_row += share * weight * 2.0 * difference;
    } else {
      const double factor = weight * term.temperature * term.temperature;
      loss += factor * divergence(label_row(student, b), {target, target + num_labels}, term.temperature,
                                  share * factor, d_row);
    }
  }
  return loss;
}

double ranking_loss(const RankingTerm& term, const Logits& student, const float* teacher, double share,
                    std::vector<double>& d_logits) {
  const size_t num_lists = term.cu_lists.size() - 1;
  const auto positives = [&](size_t list) {
    double sum = 0.0;
    for (int32_t b = term.cu_lists[list]; b < term.cu_lists[list + 1]; ++b)
      sum += term.labels[static_cast<size_t>(b)];
    return sum;
  };
  int64_t num_labelled = 0;
  if (term.label_weight != 0.0) {
    for (size_t list = 0; list < num_lists; ++list) num_labelled += positives(list) > 0.0 ? 1 : 0;
  }
  double loss = 0.0;
  for (size_t list = 0; list < num_lists; ++list) {
    const int32_t begin = term.cu_lists[list];
    const int32_t end = term.cu_lists[list + 1];
    std::vector<double> log_p;
    for (int32_t b = begin; b < end; ++b) log_p.push_back(*student.row(b));
    double* const d_list = d_logits.data() + begin;
    if (term.teacher_weight != 0.0) {
      const double weight = term.teacher_weight / static_cast<double>(num_lists);
      loss += weight *
              divergence(log_p, {teacher + begin, teacher + end}, term.temperature, share * weight, d_list);
    }
    const double sum = num_labelled > 0 ? positives(list) : 0.0;
    if (sum <= 0.0) continue;
    const double weight = term.label_weight / static_cast<double>(num_labelled);
    to_log_softmax(log_p);
    for (size_t i = 0; i < log_p.size(); ++i) {
      const double target = term.labels[static_cast<size_t>(begin) + i] / sum;
      loss -= weight * target * log_p[i];
      d_list[i] += share * weight * (std::exp(log_p[i]) - target);
    }
  }
  return loss;
}

}  // namespace elasticlm
