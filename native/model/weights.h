// The weight store: one packed copy of a checkpoint's weights, read by every SubLM.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/packed_matrix.h"
#include "model/config.h"
#include "model/safetensors.h"

namespace elasticlm {

struct LayerNormWeights {
  AlignedBuffer gamma;  // [E]
  AlignedBuffer beta;   // [E]
};

struct LayerWeights {
  PackedMatrix qkv_proj;       // per head q | k | v: [H * qkv_head_columns, E]; head h begins at block h *
                               // qkv_head_columns / 16
  PackedMatrix attn_out_proj;  // [E, H * D]
  LayerNormWeights attn_layer_norm;
  PackedMatrix ffn_up;    // [F, E]
  PackedMatrix ffn_down;  // [E, F]
  LayerNormWeights ffn_layer_norm;
};

struct ModelWeights {
  EncoderConfig config;
  Precision precision = Precision::kF32;         // of the layers' linear weights
  std::shared_ptr<const Checkpoint> checkpoint;  // keeps the embedding tables' memory map alive
  TensorView word_embeddings;                    // [V, E], in the file's dtype
  TensorView position_embeddings;                // [max_position_embeddings, E]
  TensorView token_type_embeddings;              // [type_vocab_size, E]
  LayerNormWeights embedding_layer_norm;
  std::vector<LayerWeights> layers;        // [L]
  std::optional<PackedMatrix> pooler;      // [E, E] in f32, when the checkpoint has pooler.dense
  std::optional<PackedMatrix> classifier;  // [num_labels, E] in f32, when the checkpoint has classifier
  int64_t num_labels = 0;                  // 0 without a classifier
  int64_t packed_bytes() const;            // memory of the packed copy
};

// Packs the weights of `paths`. Shapes are checked against `config`. Throws what Checkpoint throws.
std::shared_ptr<const ModelWeights> load_weights(const EncoderConfig& config,
                                                 const std::vector<std::string>& paths,
                                                 Precision precision = Precision::kF32);

// Seeded random weights of the same shape distribution as a trained encoder, for tests and benchmarks without
// a checkpoint: linear weights and embeddings normal with deviation 0.02 (scaled so that activations stay of
// order 1), LayerNorm gamma near 1. Always has a pooler and a classifier of `num_labels` labels if num_labels
// > 0.
std::shared_ptr<const ModelWeights> random_weights(const EncoderConfig& config, int64_t num_labels,
                                                   uint64_t seed, Precision precision = Precision::kF32);

}  // namespace elasticlm
