// A BERT forward as a GPU of one precision does it at its plainest: weights, and every activation that a GPU
// stores, are rounded to that type; sums are in f32, one after another. Its distance from the f64 reference
// (test/reference_encoder.h) sets the tolerance of tests. Shares no code with kernels/, plan/ and exec/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "model/structure.h"
#include "model/weights.h"

namespace elasticlm::test {

class NaiveEncoder {
 public:
  NaiveEncoder(const ModelWeights& weights, DType dtype) : weights_(weights), dtype_(dtype) {}

  // [S, E]
  std::vector<double> hidden(const Structure& structure, std::span<const int32_t> input_ids,
                             std::span<const int32_t> token_type_ids) const;
  // [E] from hidden states [S, E].
  std::vector<double> pooler(const std::vector<double>& hidden) const;
  // [num_labels] from the pooler's output.
  std::vector<double> logits(const std::vector<double>& pooler) const;

 private:
  using Row = std::vector<float>;

  float rounded(float value) const;
  float stored(const TensorView& table, int64_t row, int64_t column) const;
  Row linear(const PackedMatrixView& weight, int64_t N, const Row& x,
             const std::vector<bool>& kept_depth) const;
  void layer_norm(Row& x, const LayerNormWeights& weights) const;
  std::vector<Row> attend(const LayerWeights& layer, const std::vector<bool>& kept_heads,
                          const std::vector<Row>& x) const;

  const ModelWeights& weights_;
  DType dtype_;
};

}  // namespace elasticlm::test
