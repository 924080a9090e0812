// What a forward owns of the CUDA runtime, each released once by its owner. Releasing ignores errors: it runs
// when another error is already on its way, or when a failed device refuses everything.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "kernels/cuda/launch.h"

namespace elasticlm::cuda {

struct FreeDevice {
  void operator()(std::byte* data) const { static_cast<void>(cudaFree(data)); }
};
struct FreePinned {
  void operator()(std::byte* data) const { static_cast<void>(cudaFreeHost(data)); }
};
struct DestroyStream {
  void operator()(cudaStream_t stream) const { static_cast<void>(cudaStreamDestroy(stream)); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const { static_cast<void>(cudaEventDestroy(event)); }
};
struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { static_cast<void>(cudaGraphDestroy(graph)); }
};
struct DestroyGraphExec {
  void operator()(cudaGraphExec_t graph) const { static_cast<void>(cudaGraphExecDestroy(graph)); }
};

template <typename Free>
class Buffer {
 public:
  std::byte* data() const { return data_.get(); }
  int64_t bytes() const { return bytes_; }

  // At least `bytes`, content unspecified; what it held before is given back first, so that two copies are
  // never needed. Throws kDeviceMemoryExhausted and is empty then.
  void allocate(int64_t bytes);
  void release() {
    data_.reset();
    bytes_ = 0;
  }

 private:
  std::unique_ptr<std::byte, Free> data_;
  int64_t bytes_ = 0;
};
using DeviceBuffer = Buffer<FreeDevice>;
using PinnedBuffer = Buffer<FreePinned>;

using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;
using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, DestroyGraph>;
using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraphExec>;

// One that does not wait for the legacy default stream.
Stream make_stream();
// One that keeps the time at which it was passed.
Event make_event();
// One that a thread can sleep on.
Event make_blocking_event();

// Waits for the stream's work by way of `event`, which make_blocking_event() made.
void finish(cudaStream_t stream, const Event& event);
// Waits for the stream's work and ignores how it ended.
void drain(cudaStream_t stream);

// Runs `body`, which enqueues work and waits for it. When it throws, what it enqueued has ended all the same:
// memory that the work reads or writes may be given back or used again.
template <typename Body>
void run_or_drain(cudaStream_t stream, const Body& body) {
  try {
    body();
  } catch (...) {
    drain(stream);
    throw;
  }
}

Graph end_capture(cudaStream_t stream);
// Whatever became of its capture, the stream is free of it afterwards.
void leave_capture(cudaStream_t stream);
GraphExec instantiate(const Graph& graph);

// What `enqueue` puts into `stream`, recorded instead of run. Calls of other threads are free to go on
// meanwhile.
template <typename Enqueue>
GraphExec capture(cudaStream_t stream, const Enqueue& enqueue) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "to begin the capture of a graph");
  Graph graph;
  try {
    enqueue();
    graph = end_capture(stream);
  } catch (...) {
    leave_capture(stream);
    throw;
  }
  return instantiate(graph);
}

}  // namespace elasticlm::cuda
