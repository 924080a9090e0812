// A SubLM cut out of its model into dense weights of its own: what the shared weights must agree with, bit
// for bit.
#pragma once

#include <memory>

#include "model/structure.h"
#include "model/weights.h"

namespace elasticlm::test {

struct CutModel {
  std::shared_ptr<const ModelWeights>
      weights;          // only the kept heads and neurons, packed densely; config is the full model's
  Structure structure;  // the prefix of each layer that keeps all of them
};

// Copies what `structure` keeps of `full`, in rising order of position; a layer may keep nothing. Embedding
// tables are not copied: `full` must outlive the result.
CutModel cut_model(const ModelWeights& full, const Structure& structure);

}  // namespace elasticlm::test
