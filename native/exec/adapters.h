// Linear layers that some SubLMs have to themselves: x + W x + b instead of a sequence's pooled vector x.
// They come after the backend's pooling and before normalising, on the processor, whatever computed the rest:
// one product of E x E for each sequence.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/cpu_features.h"
#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"
#include "model/config.h"

namespace elasticlm {

struct AdapterSpec {
  const EncoderConfig& config;
  const std::vector<std::string>& paths;  // of the checkpoint
  std::span<const int32_t> adapter_idx;   // [structures] which of the checkpoint's each has; -1: none
  Isa isa = Isa::kRef;
};

class Adapters {
 public:
  // Packs the adapters that some structure has. Throws what Checkpoint throws, kTensorMissing,
  // kTensorShapeMismatch, kCheckpointInvalid for numbers that are not finite.
  explicit Adapters(const AdapterSpec& spec);

  int64_t bytes() const;  // of the packed weights

  // vectors [B, E], pooled and not normalised, of sequences at the structures `structure_idx` [B]: replaced
  // by the adapters' outputs, then divided by their norms if asked (a zero vector stays zero). The same bits
  // for a sequence alone and in any batch.
  void apply(std::span<const int32_t> structure_idx, bool normalize, float* vectors) const;

 private:
  void adapt(const PackedMatrix& weight, std::span<const int64_t> sequences, float* vectors) const;

  const KernelTable& kernels_;
  const int64_t hidden_size_;
  const std::vector<int32_t> adapter_idx_;
  std::map<int32_t, PackedMatrix> weights_;  // by the checkpoint's number
};

}  // namespace elasticlm
