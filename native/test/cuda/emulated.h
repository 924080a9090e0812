// Shared by the emulator's own tests. Their kernels stand in the test files: the emulator's are ordinary
// functions.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>
#include <vector>

#include "emulator/emulator.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"
#include "test/check.h"

namespace elasticlm::test {

// Schedules that a test tries: a bug that shows in one of eight goes unseen with probability 0.875^40 = 0.5
// %.
inline constexpr int kNumSeeds = 40;

// The default machine, until the end of the test.
class Machine {
 public:
  Machine() { reset(); }
  ~Machine() { reset(); }

 private:
  static void reset() {
    emulator::forget_work();
    emulator::settings() = {};
    emulator::set_seed(1);
  }
};

template <typename T>
class Device {
 public:
  explicit Device(std::vector<T> values) : size_(values.size()) {
    cuda::check(cudaMalloc(&data_, size_ * sizeof(T)), "to allocate");
    cuda::check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "to upload");
  }
  explicit Device(size_t size, T value = T{}) : Device(std::vector<T>(size, value)) {}
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> all(size_);
    cuda::check(cudaMemcpy(all.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "to download");
    return all;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

inline cuda::LaunchShape shape_of(unsigned num_blocks, unsigned block_threads, size_t shared_bytes = 0) {
  cuda::LaunchShape shape;
  shape.grid = dim3(num_blocks);
  shape.block = dim3(block_threads);
  shape.shared_bytes = shared_bytes;
  return shape;
}

template <typename... Parameters, typename... Arguments>
void run(void (*kernel)(Parameters...), const cuda::LaunchShape& shape, Arguments&&... arguments) {
  cuda::launch(kernel, shape, std::forward<Arguments>(arguments)...);
  cuda::check(cudaDeviceSynchronize(), "to run");
}

inline cudaStream_t make_stream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream = nullptr;
  cuda::check(cudaStreamCreateWithFlags(&stream, flags), "to make a stream");
  return stream;
}

inline cuda::LaunchShape on(cudaStream_t stream, cuda::LaunchShape shape = shape_of(1, 4)) {
  shape.stream = stream;
  return shape;
}

#define CHECK_STATUS(call, expected)                                                       \
  do {                                                                                     \
    const cudaError_t status = (call);                                                     \
    CHECK(status == (expected), std::string(#call) + " gave " + cudaGetErrorName(status)); \
  } while (false)

// What the work threw; empty when it came to its end.
template <typename Work>
std::string fault_of(Work&& work) {
  try {
    work();
  } catch (const emulator::Fault& fault) {
    return fault.what();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define CHECK_FAULT(work, part)                                                                  \
  do {                                                                                           \
    const std::string fault = elasticlm::test::fault_of([&] { work; });                          \
    CHECK(elasticlm::test::contains(fault, part),                                                \
          std::string("expected a fault that says '") + (part) + "', received '" + fault + "'"); \
  } while (false)

// In how many of the seeds `work` gave true.
template <typename Work>
int count_seeds(Work&& work) {
  int count = 0;
  for (int seed = 1; seed <= kNumSeeds; seed++) {
    emulator::set_seed(static_cast<uint64_t>(seed));
    if (work()) count++;
  }
  return count;
}

}  // namespace elasticlm::test
