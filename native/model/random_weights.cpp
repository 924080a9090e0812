// Weights from a seed alone, the same bits everywhere: model/seeded_normal.h, and correctly rounded
// operations
// (+, *, sqrt).
#include <cmath>
#include <map>
#include <new>
#include <utility>

#include "core/status.h"
#include "model/assemble.h"
#include "model/seeded_normal.h"
#include "model/tensor_names.h"

namespace elasticlm {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

struct Normal {
  float mean;
  float deviation;
};

// BERT initialises with deviation 0.02 at width 768. Scaling by sqrt(768 / K) keeps a product's deviation at
// that model's 0.55 for any depth K. LayerNorm gains and all biases vary too, so that no test passes without
// them.
Normal distribution_of(const std::string& name, const std::vector<int64_t>& shape) {
  constexpr float kDeviation = 0.02f;
  if (ends_with(name, "LayerNorm.weight")) return {1.0f, 0.1f};
  if (shape.size() < 2 || ends_with(name, "embeddings.weight")) return {0.0f, kDeviation};
  return {0.0f, kDeviation * std::sqrt(768.0f / static_cast<float>(shape[1]))};
}

class RandomSource final : public TensorSource {
 public:
  RandomSource(int64_t num_labels, int64_t hidden_size, uint64_t seed)
      : num_labels_(num_labels), hidden_size_(hidden_size), seed_(seed) {}

  bool has(const std::string& name) const override { return name.find(kClassifier) != 0 || num_labels_ > 0; }
  std::vector<int64_t> shape(const std::string&) const override { return {num_labels_, hidden_size_}; }

  TensorView tensor(const std::string& name, const std::vector<int64_t>& shape) override {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    AlignedBuffer values(count);
    const Normal normal = distribution_of(name, shape);
    SeededNormal generator(seed_, name);
    for (size_t i = 0; i < count; ++i) values.data()[i] = normal.mean + normal.deviation * generator.next();
    const auto [stored, is_new] = tensors_.insert_or_assign(name, std::move(values));
    return {reinterpret_cast<const std::byte*>(stored->second.data()), DType::kF32, shape};
  }

  AlignedBuffer take(const std::string& name) { return std::move(tensors_.at(name)); }

 private:
  int64_t num_labels_;
  int64_t hidden_size_;
  uint64_t seed_;
  std::map<std::string, AlignedBuffer> tensors_;
};

// The embedding tables that the weights' views point into live beside them.
struct RandomModel {
  ModelWeights weights;
  std::vector<AlignedBuffer> tables;
};

}  // namespace

std::shared_ptr<const ModelWeights> random_weights(const EncoderConfig& config, int64_t num_labels,
                                                   uint64_t seed, Precision precision) {
  validate(config);
  try {
    auto model = std::make_shared<RandomModel>();
    RandomSource source(num_labels, config.hidden_size, seed);
    model->weights.precision = precision;
    assemble(config, source, model->weights);
    for (const char* name : {kWordEmbeddings, kPositionEmbeddings, kTokenTypeEmbeddings}) {
      model->tables.push_back(source.take(name));
    }
    return {model, &model->weights};
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kMemoryExhausted, {.expected = "memory for random weights",
                                       .subject = "the encoder's sizes",
                                       .received = "no more from the system",
                                       .remedy = "Use a smaller model or a larger machine"});
  }
}

}  // namespace elasticlm
