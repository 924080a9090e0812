// Weights from a seed alone: the same bits on every machine and standard library, since only integer
// arithmetic and correctly rounded operations (+, *, sqrt) take part.
#include <cmath>
#include <map>
#include <new>
#include <utility>

#include "core/status.h"
#include "model/assemble.h"
#include "model/tensor_names.h"

namespace elasticlm {
namespace {

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t state) : state_(state) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// Near enough to a standard normal: the sum of twelve uniform 16-bit numbers (Irwin-Hall), centred; its
// variance is that of one number times 12, (2^32 - 1), so 2^-16 scales it to 1. Box-Muller would need log and
// cos, whose last bits differ between C libraries.
float next_normal(SplitMix64& generator) {
  int32_t sum = 0;
  for (int word = 0; word < 3; ++word) {
    const uint64_t bits = generator.next();
    for (int shift = 0; shift < 64; shift += 16) sum += static_cast<int32_t>(bits >> shift & 0xffff);
  }
  constexpr int32_t kMean = 12 * 65535 / 2;
  return static_cast<float>(sum - kMean) * 0x1p-16f;
}

uint64_t fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

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

// Each tensor has its own stream, so that it does not depend on which others exist or on their order.
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
    SplitMix64 generator(seed_ ^ fnv1a(name));
    for (size_t i = 0; i < count; ++i)
      values.data()[i] = normal.mean + normal.deviation * next_normal(generator);
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
