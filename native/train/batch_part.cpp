#include "train/batch_part.h"

#include <vector>

namespace elasticlm {
namespace {

// A part of the batch's memory, or nothing where there is none.
template <typename Element>
std::span<const Element> first(std::span<const Element> values, int64_t size) {
  return values.empty() ? values : values.first(static_cast<size_t>(size));
}

// The first `count` of `total` equal parts.
std::vector<float> first_parts(const std::vector<float>& values, int64_t count, int64_t total) {
  const auto size = static_cast<int64_t>(values.size()) / total * count;
  return {values.begin(), values.begin() + size};
}

// Of q, k and v in turn.
std::vector<float> first_qkv(const std::vector<float>& qkv, int64_t num_tokens, int64_t total) {
  const auto size = static_cast<int64_t>(qkv.size()) / 3;
  std::vector<float> part;
  for (int64_t i = 0; i < 3; ++i) {
    const auto begin = qkv.begin() + i * size;
    part.insert(part.end(), begin, begin + size / total * num_tokens);
  }
  return part;
}

}  // namespace

BatchPart first_sequences(const TokenBatch& batch, const Objective& objective, const TeacherOutputs* teacher,
                          int64_t count) {
  const int64_t num_tokens = batch.cu_seqlens[static_cast<size_t>(count)];
  BatchPart part{.batch = {.input_ids = first(batch.input_ids, num_tokens),
                           .token_type_ids = first(batch.token_type_ids, num_tokens),
                           .cu_seqlens = first(batch.cu_seqlens, count + 1)},
                 .objective = objective,
                 .teacher = {}};
  part.objective.classification.labels = first(objective.classification.labels, count);
  part.objective.regression.targets = first(objective.regression.targets, count);
  part.objective.mlm.labels = first(objective.mlm.labels, num_tokens);
  if (teacher == nullptr) return part;
  part.teacher = {.hidden = first_parts(teacher->hidden, num_tokens, batch.num_tokens()),
                  .embeddings = first_parts(teacher->embeddings, count, batch.num_sequences()),
                  .logits = first_parts(teacher->logits, count, batch.num_sequences()),
                  .qkv = first_qkv(teacher->qkv, num_tokens, batch.num_tokens())};
  return part;
}

}  // namespace elasticlm
