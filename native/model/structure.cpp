#include "model/structure.h"

#include <algorithm>
#include <string>

#include "core/status.h"

namespace elasticlm {
namespace {

[[noreturn]] void refuse(size_t layer_idx, const char* part, const std::string& expected,
                         const std::string& received) {
  fail(ErrorCode::kStructureInvalid, {.expected = expected,
                                      .subject = std::string(part) + " of layer " + std::to_string(layer_idx),
                                      .received = received,
                                      .remedy = ""});
}

void check_count(size_t layer_idx, const char* part, int64_t count, int64_t limit) {
  if (count >= 0 && count <= limit) return;
  refuse(layer_idx, part, "0 to " + std::to_string(limit), std::to_string(count));
}

void check_rising(size_t layer_idx, const char* part, const std::vector<int32_t>& positions, int64_t limit) {
  int64_t previous = -1;
  for (size_t i = 0; i < positions.size(); ++i) {
    if (positions[i] > previous && positions[i] < limit) {
      previous = positions[i];
      continue;
    }
    refuse(layer_idx, part, "strictly rising positions below " + std::to_string(limit),
           std::to_string(positions[i]) + " at place " + std::to_string(i));
  }
}

// Neurons in the listed blocks: kNeuronBlock each, but for the layer's last block, which may be short.
int64_t neurons_in(const std::vector<int32_t>& blocks, int64_t intermediate_size) {
  int64_t count = 0;
  for (const int32_t block : blocks) {
    count += std::min(kNeuronBlock, intermediate_size - block * kNeuronBlock);
  }
  return count;
}

}  // namespace

Structure Structure::full(const EncoderConfig& config) {
  const LayerStructure all{.num_heads = config.num_heads,
                           .num_neurons = config.intermediate_size,
                           .heads = {},
                           .neuron_blocks = {}};
  return {std::vector<LayerStructure>(static_cast<size_t>(config.num_layers), all)};
}

void validate(const Structure& structure, const EncoderConfig& config) {
  if (static_cast<int64_t>(structure.layers.size()) != config.num_layers) {
    fail(ErrorCode::kStructureInvalid, {.expected = std::to_string(config.num_layers) + " layers",
                                        .subject = "the structure",
                                        .received = std::to_string(structure.layers.size()),
                                        .remedy = ""});
  }
  const int64_t num_blocks = (config.intermediate_size + kNeuronBlock - 1) / kNeuronBlock;
  for (size_t l = 0; l < structure.layers.size(); ++l) {
    const LayerStructure& layer = structure.layers[l];
    check_count(l, "num_heads", layer.num_heads, config.num_heads);
    check_count(l, "num_neurons", layer.num_neurons, config.intermediate_size);
    if (!layer.heads.empty()) {
      check_rising(l, "heads", layer.heads, config.num_heads);
      const int64_t listed = static_cast<int64_t>(layer.heads.size());
      if (listed != layer.num_heads) {
        refuse(l, "num_heads", std::to_string(listed) + ", the number of listed heads,",
               std::to_string(layer.num_heads));
      }
    }
    if (!layer.neuron_blocks.empty()) {
      check_rising(l, "neuron_blocks", layer.neuron_blocks, num_blocks);
      const int64_t listed = neurons_in(layer.neuron_blocks, config.intermediate_size);
      if (listed != layer.num_neurons) {
        refuse(l, "num_neurons", std::to_string(listed) + ", the neurons in the listed blocks,",
               std::to_string(layer.num_neurons));
      }
    }
  }
}

}  // namespace elasticlm
