#include "model/weights.h"

#include <new>
#include <utility>

#include "core/status.h"
#include "model/assemble.h"

namespace elasticlm {
namespace {

class CheckpointSource final : public TensorSource {
 public:
  explicit CheckpointSource(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  std::vector<int64_t> shape(const std::string& name) const override { return checkpoint_.shape(name); }
  TensorView tensor(const std::string& name, const std::vector<int64_t>& shape) override {
    return checkpoint_.tensor(name, shape);
  }

 private:
  const Checkpoint& checkpoint_;
};

int64_t bytes_of(const LayerNormWeights& layer_norm) {
  return static_cast<int64_t>((layer_norm.gamma.size() + layer_norm.beta.size()) * sizeof(float));
}

}  // namespace

int64_t ModelWeights::packed_bytes() const {
  int64_t bytes = bytes_of(embedding_layer_norm);
  for (const LayerWeights& layer : layers) {
    bytes +=
        layer.qkv_proj.bytes() + layer.attn_out_proj.bytes() + layer.ffn_up.bytes() + layer.ffn_down.bytes();
    bytes += bytes_of(layer.attn_layer_norm) + bytes_of(layer.ffn_layer_norm);
  }
  if (pooler) bytes += pooler->bytes();
  if (classifier) bytes += classifier->bytes();
  return bytes;
}

std::shared_ptr<const ModelWeights> load_weights(const EncoderConfig& config,
                                                 const std::vector<std::string>& paths, Precision precision) {
  validate(config);
  auto checkpoint = std::make_shared<const Checkpoint>(paths);
  auto weights = std::make_shared<ModelWeights>();
  weights->checkpoint = checkpoint;
  weights->precision = precision;
  try {
    CheckpointSource source(*checkpoint);
    assemble(config, source, *weights);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kMemoryExhausted, {.expected = "memory for the packed weights",
                                       .subject = checkpoint->describe(),
                                       .received = "no more from the system",
                                       .remedy = "Use a smaller model or a larger machine"});
  }
  return weights;
}

}  // namespace elasticlm
