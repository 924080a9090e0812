// SubLMs as benchmarks cut them: the same part of every layer.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "model/structure.h"

namespace elasticlm::bench {

inline std::vector<Structure> even_structures(const EncoderConfig& config, std::span<const double> levels) {
  std::vector<Structure> structures;
  for (const double level : levels) {
    Structure structure = Structure::full(config);
    for (LayerStructure& layer : structure.layers) {
      layer.num_heads = std::lround(static_cast<double>(config.num_heads) * level);
      layer.num_neurons = std::lround(static_cast<double>(config.intermediate_size) * level);
    }
    structures.push_back(structure);
  }
  return structures;
}

}  // namespace elasticlm::bench
