#include "exec/cuda/small_layers.h"

#include <cstring>
#include <vector>

namespace elasticlm::cuda {

void SmallLayers::write(const DeviceWeights& weights, const PlanAddresses& plan, cudaStream_t stream) {
  std::vector<SmallLayer> layers;
  for (const DeviceLayer& layer : weights.layers) {
    const auto layer_idx = std::ssize(layers);
    const auto step = [&](LayerLinear linear) {
      return plan.linear_steps + linear_step_idx(layer_idx, linear);
    };
    layers.push_back({.qkv_proj = layer.qkv_proj.weight.data,
                      .attn_out_proj = layer.attn_out_proj.weight.data,
                      .ffn_up = layer.ffn_up.weight.data,
                      .ffn_down = layer.ffn_down.weight.data,
                      .qkv_bias = layer.qkv_proj.bias,
                      .attn_out_bias = layer.attn_out_proj.bias,
                      .ffn_up_bias = layer.ffn_up.bias,
                      .ffn_down_bias = layer.ffn_down.bias,
                      .attn_gamma = layer.attn_layer_norm.gamma,
                      .attn_beta = layer.attn_layer_norm.beta,
                      .ffn_gamma = layer.ffn_layer_norm.gamma,
                      .ffn_beta = layer.ffn_layer_norm.beta,
                      .qkv_step = step(LayerLinear::kQkvProj),
                      .attn_out_step = step(LayerLinear::kAttnOutProj),
                      .ffn_up_step = step(LayerLinear::kFfnUp),
                      .ffn_down_step = step(LayerLinear::kFfnDown),
                      .attention_step = plan.attention_steps + layer_idx});
  }
  const size_t bytes = layers.size() * sizeof(SmallLayer);
  if (staging_.data() == nullptr) staging_.allocate(static_cast<int64_t>(bytes));
  steps_ = nullptr;
  if (memory_.data() == nullptr) memory_.allocate(static_cast<int64_t>(bytes));
  std::memcpy(staging_.data(), layers.data(), bytes);
  check(cudaMemcpyAsync(memory_.data(), staging_.data(), bytes, cudaMemcpyHostToDevice, stream),
        "to receive the addresses of layers");
  check(cudaStreamSynchronize(stream), "to receive the addresses of layers");
  steps_ = plan.linear_steps;
}

}  // namespace elasticlm::cuda
