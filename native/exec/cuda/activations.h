// The GPU memory of one stream's activations and results, for as many rows and sequences as any forward of it
// needed.
#pragma once

#include <cstdint>

#include "exec/cuda/device_memory.h"
#include "exec/cuda/device_weights.h"
#include "exec/cuda/plan_buffer.h"
#include "kernels/cuda/linear.h"

namespace elasticlm::cuda {

// Matrices of [rows, ...] that fit the bounds. FFN's activations live when q, k, v and context do not and
// have their memory: fewer bytes pass through L2.
struct ActivationMatrices {
  DeviceMatrix hidden;          // [T, E]
  DeviceMatrix qkv;             // [T, 3 E]
  DeviceMatrix context;         // [T, E]
  DeviceMatrix ffn;             // [T, F rounded up to 16]
  DeviceMatrix first_rows;      // [B, E]
  DeviceMatrix pooler;          // [B, E]
  DeviceMatrix logits;          // [B, num_labels rounded up to 16]; no columns without a classifier
  void* small_spare = nullptr;  // [at most kSmallForwardTokens, E], of the kernel of small forwards
  void* small_sums = nullptr;   // likewise
  float* results = nullptr;     // what leaves the GPU
};

class Activations {
 public:
  Activations(const DeviceWeights& weights, const Device& device) : weights_(weights), device_(device) {}

  bool fits(const PlanBounds& bounds, int64_t num_results) const;
  // Makes room. Matrices given before are void, also when it throws.
  void grow(const PlanBounds& bounds, int64_t num_results);

  const ActivationMatrices& matrices() const { return matrices_; }
  int64_t device_bytes() const { return memory_.bytes() + results_.bytes(); }

 private:
  const DeviceWeights& weights_;
  const Device& device_;
  PlanBounds bounds_;  // what memory_ has room for
  DeviceBuffer memory_;
  DeviceBuffer results_;
  ActivationMatrices matrices_;
};

}  // namespace elasticlm::cuda
