#include "exec/adapters.h"

#include <algorithm>
#include <vector>

#include "core/aligned_buffer.h"
#include "exec/dense.h"
#include "model/float_tensor.h"
#include "model/packing.h"
#include "model/safetensors.h"
#include "model/tensor_names.h"

namespace elasticlm {
namespace {

PackedMatrix pack_adapter(const Checkpoint& checkpoint, int32_t idx, int64_t hidden_size,
                          HugeMemory& memory) {
  const std::string weight = weight_of(adapter_name(idx));
  const std::string bias = bias_of(adapter_name(idx));
  const LinearTensors linear{checkpoint.tensor(weight, {hidden_size, hidden_size}),
                             checkpoint.tensor(bias, {hidden_size})};
  require_finite(linear.weight, weight);
  require_finite(linear.bias, bias);
  return pack_linear(linear, {Precision::kF32, memory});
}

}  // namespace

Adapters::Adapters(const AdapterSpec& spec)
    : kernels_(kernel_table(spec.isa)),
      hidden_size_(spec.config.hidden_size),
      adapter_idx_(spec.adapter_idx.begin(), spec.adapter_idx.end()) {
  const Checkpoint checkpoint(spec.paths);
  HugeMemory memory;
  for (const int32_t idx : adapter_idx_) {
    if (idx < 0 || weights_.contains(idx)) continue;
    weights_[idx] = pack_adapter(checkpoint, idx, hidden_size_, memory);
  }
}

int64_t Adapters::bytes() const {
  int64_t bytes = 0;
  for (const auto& [idx, weight] : weights_) bytes += weight.bytes();
  return bytes;
}

void Adapters::apply(std::span<const int32_t> structure_idx, bool normalize, float* vectors) const {
  std::map<int32_t, std::vector<int64_t>> sequences;  // by their adapter
  for (size_t i = 0; i < structure_idx.size(); ++i) {
    const int32_t adapter = adapter_idx_[static_cast<size_t>(structure_idx[i])];
    if (adapter >= 0) sequences[adapter].push_back(static_cast<int64_t>(i));
  }
  for (const auto& [adapter, adapted] : sequences) adapt(weights_.at(adapter), adapted, vectors);
  if (!normalize) return;
  for (size_t i = 0; i < structure_idx.size(); ++i) {
    float* const vector = vectors + static_cast<int64_t>(i) * hidden_size_;
    kernels_.pooling_forward({.x = vector,
                              .y = vector,
                              .num_rows = 1,
                              .hidden_size = hidden_size_,
                              .ldx = hidden_size_,
                              .pooling = Pooling::kCls,
                              .normalize = true});
  }
}

void Adapters::adapt(const PackedMatrix& weight, std::span<const int64_t> sequences, float* vectors) const {
  const int64_t ld = round_up(hidden_size_, kBlockColumns);
  const auto count = static_cast<int64_t>(sequences.size());
  AlignedBuffer rows(static_cast<size_t>(2 * count * ld));
  float* const x = rows.data();
  float* const y = x + count * ld;
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(vectors + sequences[static_cast<size_t>(i)] * hidden_size_, hidden_size_, x + i * ld);
  }
  dense(kernels_, weight, Activation::kNone, {x, ld, y, ld, count});
  for (int64_t i = 0; i < count; ++i) {
    float* const vector = vectors + sequences[static_cast<size_t>(i)] * hidden_size_;
    for (int64_t e = 0; e < hidden_size_; ++e) vector[e] += y[i * ld + e];
  }
}

}  // namespace elasticlm
