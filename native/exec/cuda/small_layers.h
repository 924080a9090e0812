// What the kernel of small forwards reads of each layer (kernels/cuda/small_forward.h), in device memory.
#pragma once

#include "exec/cuda/device_memory.h"
#include "exec/cuda/device_weights.h"
#include "exec/cuda/plan_buffer.h"
#include "kernels/cuda/small_forward.h"

namespace elasticlm::cuda {

class SmallLayers {
 public:
  // Whether the addresses of the steps in `plan` are those that were written.
  bool hold(const PlanAddresses& plan) const { return steps_ == plan.linear_steps; }
  // Writes the addresses of `weights` and of the steps in `plan`, and waits until they have arrived. No
  // forward may be under way, nor a write that failed. The address of the layers stays the same.
  void write(const DeviceWeights& weights, const PlanAddresses& plan, cudaStream_t stream);

  const SmallLayer* layers() const { return reinterpret_cast<const SmallLayer*>(memory_.data()); }
  int64_t device_bytes() const { return memory_.bytes(); }

 private:
  PinnedBuffer staging_;
  DeviceBuffer memory_;
  const LinearStep* steps_ = nullptr;
};

}  // namespace elasticlm::cuda
