// The model, the batches and the levels that every GPU bench measures.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "exec/encoder.h"
#include "model/config.h"
#include "model/structure.h"

namespace elasticlm::bench {

inline constexpr double kLevels[] = {1.0, 0.5, 0.25, 0.1};

inline EncoderConfig bert_base() {
  EncoderConfig config;
  config.vocab_size = 30522;
  config.hidden_size = 768;
  config.num_layers = 12;
  config.num_heads = 12;
  config.intermediate_size = 3072;
  config.max_position_embeddings = 512;
  config.type_vocab_size = 2;
  return config;
}

// For the emulator, which needs seconds for what a GPU does in microseconds.
inline EncoderConfig tiny_bert() {
  EncoderConfig config;
  config.vocab_size = 100;
  config.hidden_size = 128;
  config.num_layers = 2;
  config.num_heads = 4;
  config.intermediate_size = 256;
  config.max_position_embeddings = 64;
  config.type_vocab_size = 2;
  return config;
}

// The first heads and neurons of each layer. Heads are few, so the layers share out what the whole model
// keeps.
inline Structure prefix_structure(const EncoderConfig& config, double level) {
  Structure structure = Structure::full(config);
  const double heads_per_layer = level * static_cast<double>(config.num_heads);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    LayerStructure& layer = structure.layers[static_cast<size_t>(l)];
    layer.num_heads = std::llround(static_cast<double>(l + 1) * heads_per_layer) -
                      std::llround(static_cast<double>(l) * heads_per_layer);
    layer.num_neurons =
        kNeuronBlock * std::llround(level * static_cast<double>(config.intermediate_size / kNeuronBlock));
  }
  return structure;
}

inline std::vector<Structure> level_structures(const EncoderConfig& config) {
  std::vector<Structure> structures;
  for (const double level : kLevels) structures.push_back(prefix_structure(config, level));
  return structures;
}

struct Shape {
  std::string name;
  std::vector<int64_t> lengths;  // [B]
};

// 64 lengths from 8 to 512 at even distances, shuffled.
inline Shape ragged64() {
  Shape shape{"ragged64", {}};
  for (int64_t i = 0; i < 64; ++i) shape.lengths.push_back(8 + i * 8);
  std::mt19937_64 random(1);
  for (size_t i = shape.lengths.size() - 1; i > 0; --i)
    std::swap(shape.lengths[i], shape.lengths[random() % (i + 1)]);
  return shape;
}

inline std::vector<Shape> bert_shapes() {
  return {{"1x32", {32}},
          {"1x128", {128}},
          {"8x128", std::vector<int64_t>(8, 128)},
          {"32x128", std::vector<int64_t>(32, 128)},
          {"8x512", std::vector<int64_t>(8, 512)},
          {"64x128", std::vector<int64_t>(64, 128)},
          ragged64()};
}

inline std::vector<Shape> tiny_shapes() { return {{"1x8", {8}}, {"3xragged", {5, 17, 40}}}; }

// Owns what a Batch points to.
struct OwnedBatch {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  std::vector<int32_t> cu_seqlens = {0};
  std::vector<int32_t> structure_idx;
  Batch view() const { return {input_ids, token_type_ids, cu_seqlens, structure_idx}; }

  void add(const EncoderConfig& config, int64_t length, int32_t structure) {
    for (int64_t i = 0; i < length; ++i) {
      input_ids.push_back(
          static_cast<int32_t>((input_ids.size() * 7919) % static_cast<size_t>(config.vocab_size)));
      token_type_ids.push_back(0);
    }
    cu_seqlens.push_back(static_cast<int32_t>(input_ids.size()));
    structure_idx.push_back(structure);
  }
};

}  // namespace elasticlm::bench
