// The one copy of the weights on the GPU, in the compute dtype. Every stored matrix has a row for each unit
// that a SubLM keeps or leaves out (kernels/cuda/linear.h, WeightRows), padded with zero rows to whole
// blocks.
#pragma once

#include <vector>

#include "core/dtype.h"
#include "exec/cuda/device.h"
#include "exec/cuda/device_memory.h"
#include "kernels/cuda/linear.h"
#include "model/weights.h"

namespace elasticlm::cuda {

struct DeviceLinear {
  DeviceMatrix weight;
  const float* bias = nullptr;  // [N rounded up to 16]
};

struct DeviceLayerNorm {
  const float* gamma = nullptr;  // [E]
  const float* beta = nullptr;   // [E]
};

struct DeviceLayer {
  DeviceLinear qkv_proj;       // [H * 3 D, E], for each head q | k | v
  DeviceLinear attn_out_proj;  // [H * D, E], transposed
  DeviceLayerNorm attn_layer_norm;
  DeviceLinear ffn_up;    // [F rounded up to 16, E]
  DeviceLinear ffn_down;  // [F rounded up to 16, E], transposed
  DeviceLayerNorm ffn_layer_norm;
};

struct DeviceWeights {
  // Converts and uploads through a bounded pinned buffer. The device must be current. Throws
  // kDeviceMemoryExhausted, kDeviceFailed.
  DeviceWeights(const ModelWeights& weights, DType dtype, const Device& device);

  const EncoderConfig& config() const { return outline.config; }

  ModelWeights outline;  // the config, and which heads there are; itself without weights
  DType dtype;
  const void* word_embeddings = nullptr;        // [V, E]
  const void* position_embeddings = nullptr;    // [max_position_embeddings, E]
  const void* token_type_embeddings = nullptr;  // [type_vocab_size, E]
  DeviceLayerNorm embedding_layer_norm;
  std::vector<DeviceLayer> layers;  // [L]
  DeviceLinear pooler;              // [E, E]; no data without one
  DeviceLinear classifier;          // [num_labels rounded up to 16, E]; no data without one
  DeviceBuffer memory;              // holds all of them
};

// `matrix` with its tensor maps where the device has TMA and the elements are 16 bits wide; unchanged
// elsewhere.
DeviceMatrix with_tensor_maps(const DeviceMatrix& matrix, DType dtype, const Device& device);

}  // namespace elasticlm::cuda
