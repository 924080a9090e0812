// Which heads and neurons a SubLM keeps. A nested SubLM is a prefix of every layer; an arbitrary one lists
// what it keeps.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace elasticlm {

// Neurons are listed in blocks of this many: one column block of packed weights.
inline constexpr int64_t kNeuronBlock = 16;

struct LayerStructure {
  int64_t num_heads = 0;    // kept heads
  int64_t num_neurons = 0;  // kept neurons
  // Empty for a prefix. Otherwise strictly rising positions: heads, and blocks of kNeuronBlock neurons.
  std::vector<int32_t> heads;
  std::vector<int32_t> neuron_blocks;

  bool operator==(const LayerStructure&) const = default;
};

struct Structure {
  std::vector<LayerStructure> layers;  // [L]

  static Structure full(const EncoderConfig& config);
  bool operator==(const Structure&) const = default;
};

// Throws kStructureInvalid: wrong number of layers, counts out of bounds, lists not strictly rising or not
// agreeing with their counts (the last neuron block may be short).
void validate(const Structure& structure, const EncoderConfig& config);

}  // namespace elasticlm
