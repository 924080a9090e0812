// Builds a weight store from named tensors, wherever they come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/weights.h"

namespace elasticlm {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool has(const std::string& name) const = 0;
  // Throws kTensorMissing when there is none.
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;
  // The view stays valid as long as the source. Throws as Checkpoint::tensor.
  virtual TensorView tensor(const std::string& name, const std::vector<int64_t>& shape) = 0;
};

// Fills `weights` for `config` but for `checkpoint`: packs the layers' linear weights in weights.precision,
// those of pooler and classifier in f32, and LayerNorms, and leaves the embedding tables as views into the
// source. Every packed tensor must be finite, also when rounded to its precision, and so must the position
// and token type tables; word embeddings are not looked at, since that would read a whole table of which most
// rows are rarely needed.
void assemble(const EncoderConfig& config, TensorSource& source, ModelWeights& weights);

// Rows of a classifier of this shape. Throws kTensorShapeMismatch for one that is not [labels, E].
int64_t num_labels_of(const std::vector<int64_t>& classifier_shape, const EncoderConfig& config);

}  // namespace elasticlm
