// The kernels of one forward, put into a stream one after another.
#pragma once

#include <compare>
#include <cstdint>

#include "exec/cuda/activations.h"
#include "exec/cuda/device.h"
#include "exec/cuda/device_weights.h"
#include "exec/cuda/plan_buffer.h"
#include "exec/encoder.h"
#include "kernels/cuda/small_forward.h"

namespace elasticlm::cuda {

// All that decides which kernels run and how they are launched: two forwards of one shape are the same graph.
// Structures take no part in it.
struct ForwardShape {
  int64_t num_rows = 0;       // buckets
  int64_t num_sequences = 0;  //
  DevicePath path = DevicePath::kMma;
  Output output = Output::kPooled;
  Pooling pooling = Pooling::kMean;  // of kPooled alone
  bool normalize = false;            // of kPooled alone
  bool programmatic = false;         // launches (kernels/cuda/launch.h)

  PlanBounds bounds() const { return {num_rows, num_sequences}; }
  auto operator<=>(const ForwardShape&) const = default;
};

// The smallest shape that holds a forward of so many rows and sequences.
ForwardShape bucket_of(int64_t num_rows, int64_t num_sequences);

// What a forward reads and writes.
struct ForwardMemory {
  const DeviceWeights& weights;
  const ActivationMatrices& activations;
  PlanAddresses plan;
  const SmallLayer* small_layers = nullptr;  // [L] for DevicePath::kSmall
};

// Leaves the rows of results in activations.results: [T, E] of kHidden, or [B, ...] of the others, in the
// batch's order.
void enqueue_forward(const ForwardShape& shape, const ForwardMemory& memory, const Device& device,
                     cudaStream_t stream);

}  // namespace elasticlm::cuda
