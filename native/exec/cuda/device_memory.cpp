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

}  // namespace elasticlm::cuda
