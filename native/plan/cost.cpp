#include "plan/cost.h"

#include "plan/plan.h"

namespace elasticlm {

StructureCost structure_cost(const EncoderConfig& config, const Structure& structure) {
  int64_t heads = 0;
  int64_t neurons = 0;
  for (const LayerStructure& layer : structure.layers) {
    heads += layer.num_heads;
    neurons += layer.num_neurons;
  }
  const auto hidden_size = static_cast<double>(config.hidden_size);
  const auto context_size = static_cast<double>(heads * config.head_dim());
  // q, k, v and output projection of each kept head; up and down projection of each kept neuron; Q Kᵀ and P
  // V.
  return {2.0 * hidden_size * (4.0 * context_size + 2.0 * static_cast<double>(neurons)), 4.0 * context_size};
}

double plan_flops(const EncoderConfig& config, std::span<const Structure> structures,
                  const BatchShape& shape) {
  std::vector<StructureCost> costs;
  costs.reserve(structures.size());
  for (const Structure& structure : structures) costs.push_back(structure_cost(config, structure));
  double flops = 0;
  for (size_t i = 0; i < shape.structure_idx.size(); ++i) {
    flops += costs[static_cast<size_t>(shape.structure_idx[i])].flops(shape.cu_seqlens[i + 1] -
                                                                      shape.cu_seqlens[i]);
  }
  return flops;
}

}  // namespace elasticlm
