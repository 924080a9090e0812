// One stream of a GPU with all that a forward on it needs beside the weights. Used by one caller at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <span>

#include "exec/cuda/activations.h"
#include "exec/cuda/device.h"
#include "exec/cuda/device_memory.h"
#include "exec/cuda/device_weights.h"
#include "exec/cuda/forward_steps.h"
#include "exec/cuda/plan_buffer.h"
#include "exec/cuda/small_layers.h"
#include "exec/encoder.h"
#include "plan/device_plan.h"

namespace elasticlm::cuda {

class DeviceStream {
 public:
  // The references must outlive it. The device must be current here and in every call.
  DeviceStream(const DeviceWeights& weights, const Device& device, const DeviceEncoderOptions& options);

  // As DeviceEncoder::forward, for a batch of at least one sequence. Leaves no work behind, also when it
  // throws.
  void forward(const Batch& batch, std::span<const Structure> structures, const ForwardOptions& options,
               float* out);

  // Between the events that the last forward recorded before its first command and after its last.
  double device_ms() const;

  // May be asked from any thread.
  int64_t device_bytes() const { return device_bytes_.load(std::memory_order_relaxed); }

 private:
  // A forward's shape that was seen, and its graph from the second time on.
  struct CapturedShape {
    GraphExec graph;
    int64_t last_use = 0;
  };

  ForwardShape shape_of(const Batch& batch, const ForwardOptions& options) const;
  void make_room(const DevicePlan& plan, const ForwardShape& shape, int64_t num_results);
  void enqueue(const ForwardShape& shape);
  CapturedShape& captured(const ForwardShape& shape);
  void record(const Event& event);
  void receive(int64_t num_results, float* out);

  const DeviceWeights& weights_;
  const Device& device_;
  PathChoice path_choice_;
  bool use_graphs_;
  bool programmatic_;
  Stream stream_;
  Event done_;
  Event begin_;  // null unless times are recorded
  Event end_;    // likewise
  DevicePlanner planner_;
  PlanBuffer plan_buffer_;
  Activations activations_;
  SmallLayers small_layers_;
  PinnedBuffer received_;
  std::map<ForwardShape, CapturedShape> captured_;  // destroyed before the memory that the graphs name
  int64_t num_forwards_ = 0;
  std::atomic<int64_t> device_bytes_{0};
};

}  // namespace elasticlm::cuda
