#include "exec/cuda/device_memory.h"

namespace elasticlm::cuda {

template <>
void Buffer<FreeDevice>::allocate(int64_t bytes) {
  release();
  void* data = nullptr;
  check(cudaMalloc(&data, static_cast<size_t>(bytes)), "to allocate memory");
  data_.reset(static_cast<std::byte*>(data));
  bytes_ = bytes;
}

template <>
void Buffer<FreePinned>::allocate(int64_t bytes) {
  release();
  void* data = nullptr;
  check(cudaMallocHost(&data, static_cast<size_t>(bytes)), "to allocate pinned memory of the host");
  data_.reset(static_cast<std::byte*>(data));
  bytes_ = bytes;
}

Stream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "to create a stream");
  return Stream(stream);
}

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "to create an event");
  return Event(event);
}

Event make_blocking_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming),
        "to create an event");
  return Event(event);
}

void finish(cudaStream_t stream, const Event& event) {
  // About 150 us of asking, as long as a short forward takes: waking a thread would cost it a tenth more.
  // Whatever takes longer leaves the processor to others, which cudaStreamSynchronize would not.
  constexpr int kQueries = 100;
  check(cudaEventRecord(event.get(), stream), "to record an event");
  cudaError_t status = cudaErrorNotReady;
  for (int i = 0; i < kQueries && status == cudaErrorNotReady; ++i) status = cudaEventQuery(event.get());
  if (status == cudaErrorNotReady) status = cudaEventSynchronize(event.get());
  check(status, "to finish a forward");
}

void drain(cudaStream_t stream) {
  static_cast<void>(cudaStreamSynchronize(stream));
  static_cast<void>(cudaGetLastError());
}

Graph end_capture(cudaStream_t stream) {
  cudaGraph_t recorded = nullptr;
  check(cudaStreamEndCapture(stream, &recorded), "to end the capture of a graph");
  return Graph(recorded);
}

void leave_capture(cudaStream_t stream) {
  cudaGraph_t recorded = nullptr;
  static_cast<void>(cudaStreamEndCapture(stream, &recorded));
  static_cast<void>(cudaGetLastError());
  const Graph dropped(recorded);
}

GraphExec instantiate(const Graph& graph) {
  cudaGraphExec_t executable = nullptr;
  check(cudaGraphInstantiate(&executable, graph.get(), 0), "to instantiate a graph");
  return GraphExec(executable);
}

}  // namespace elasticlm::cuda
