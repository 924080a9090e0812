// The emulated runtime API: what is asynchronous is late, what is limited fails, what CUDA refuses is
// refused.
#if defined(ELASTICLM_EMULATED)

#include <cstring>
#include <thread>

#include "test/cuda/emulated.h"

namespace elasticlm::test {
namespace {

__global__ void add(int* values, int amount) { values[threadIdx.x] += amount; }
__global__ void scale(int* values, int factor) { values[threadIdx.x] *= factor; }
__global__ void nothing() {}

// --- streams ---------------------------------------------------------------------------------------------

TEST_CASE("what is enqueued runs when somebody waits, so a host that reads or writes too early shows") {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  const Device<int> values(4, 1);
  int* pinned = nullptr;
  CHECK_STATUS(cudaMallocHost(&pinned, 16), cudaSuccess);
  CHECK(pinned[0] == -1, "pinned memory begins as poison");

  cuda::launch(add, on(stream), values.data(), 5);
  CHECK_STATUS(cudaMemcpyAsync(pinned, values.data(), 16, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  CHECK(pinned[0] == -1, "the copy ran before anybody waited");
  CHECK_STATUS(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK(pinned[0] == 6 && pinned[3] == 6, "the copy did not run");

  pinned[0] = 10;
  CHECK_STATUS(cudaMemcpyAsync(values.data(), pinned, 4, cudaMemcpyHostToDevice, stream), cudaSuccess);
  pinned[0] = 11;
  CHECK_STATUS(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK(values.values()[0] == 11, "a staging buffer that was reused too early went unseen");
  CHECK_STATUS(cudaFreeHost(pinned), cudaSuccess);
  CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);
  CHECK_STATUS(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
}

TEST_CASE("events order streams, and nothing else does") {
  const Machine machine;
  const cudaStream_t first = make_stream();
  const cudaStream_t second = make_stream();
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  CHECK_STATUS(cudaEventCreate(&begin), cudaSuccess);
  CHECK_STATUS(cudaEventCreate(&end), cudaSuccess);
  for (const bool with_event : {true, false}) {
    const Device<int> values(4, 1);
    CHECK_STATUS(cudaEventRecord(begin, first), cudaSuccess);
    cuda::launch(add, on(first), values.data(), 2);
    CHECK_STATUS(cudaEventRecord(end, first), cudaSuccess);
    float elapsed_ms = -1.0f;
    CHECK_STATUS(cudaEventElapsedTime(&elapsed_ms, begin, end), cudaErrorNotReady);
    if (with_event) CHECK_STATUS(cudaStreamWaitEvent(second, end), cudaSuccess);
    cuda::launch(scale, on(second), values.data(), 10);
    CHECK_STATUS(cudaStreamSynchronize(second), cudaSuccess);
    CHECK_STATUS(cudaEventSynchronize(end), cudaSuccess);
    CHECK_STATUS(cudaEventElapsedTime(&elapsed_ms, begin, end), cudaSuccess);
    CHECK(elapsed_ms >= 0.0f, "no time");
    CHECK(values.values()[0] == (with_event ? 30 : 12), "order " + std::to_string(values.values()[0]));
  }
  CHECK_STATUS(cudaEventDestroy(begin), cudaSuccess);
  CHECK_STATUS(cudaEventDestroy(end), cudaSuccess);
  CHECK_STATUS(cudaStreamDestroy(first), cudaSuccess);
  CHECK_STATUS(cudaStreamDestroy(second), cudaSuccess);
}

TEST_CASE("the default stream waits for ordinary streams and not for non-blocking ones") {
  const Machine machine;
  for (const unsigned flags : {cudaStreamDefault, cudaStreamNonBlocking}) {
    const cudaStream_t stream = make_stream(flags);
    const Device<int> values(4, 1);
    cuda::launch(add, on(stream), values.data(), 2);
    const int seen = values.values()[0];
    CHECK(seen == (flags == cudaStreamDefault ? 3 : 1), "saw " + std::to_string(seen));
    CHECK_STATUS(cudaStreamQuery(stream), flags == cudaStreamDefault ? cudaSuccess : cudaErrorNotReady);
    CHECK_STATUS(cudaStreamQuery(stream), cudaSuccess);
    CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);
  }
}

TEST_CASE("host threads may run kernels on streams of their own") {
  const Machine machine;
  std::vector<std::thread> threads;
  std::vector<int> sums(4, 0);
  for (size_t i = 0; i < sums.size(); i++) {
    threads.emplace_back([&sums, i] {
      const cudaStream_t stream = make_stream();
      const Device<int> values(4, 0);
      for (int step = 0; step < 50; step++) cuda::launch(add, on(stream), values.data(), static_cast<int>(i));
      cudaStreamSynchronize(stream);
      sums[i] = values.values()[3];
      cudaStreamDestroy(stream);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < sums.size(); i++)
    CHECK(sums[i] == 50 * static_cast<int>(i), "sum " + std::to_string(sums[i]));
}

__global__ void never_meets(const int*) {
  if (threadIdx.x == 0) __syncthreads();
}

TEST_CASE("a fault of work that a release waited for comes out of the next call that waits") {
  const Machine machine;
  {
    const Device<int> values(4, 1);
    cuda::launch(never_meets, shape_of(1, 4), values.data());
  }
  CHECK(fault_of([] { cudaStreamSynchronize(nullptr); }).find("divergent barrier") != std::string::npos,
        "lost");
  CHECK(fault_of([] { cudaStreamSynchronize(nullptr); }).empty(), "twice");
}

// --- graphs ----------------------------------------------------------------------------------------------

TEST_CASE("a captured graph does nothing until it is launched, and then the same again") {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  const Device<int> values(4, 1);
  int staging[4] = {100, 100, 100, 100};
  int result[4] = {};
  CHECK_STATUS(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  CHECK_STATUS(cudaMemcpyAsync(values.data(), staging, 16, cudaMemcpyHostToDevice, stream), cudaSuccess);
  int amount = 7;
  cuda::launch(add, on(stream), values.data(), amount);
  amount = 8;
  cuda::launch(scale, on(stream), values.data(), 2);
  CHECK_STATUS(cudaMemcpyAsync(result, values.data(), 16, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  cudaGraph_t graph = nullptr;
  CHECK_STATUS(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  CHECK_STATUS(cudaGraphInstantiate(&executable, graph), cudaSuccess);
  CHECK_STATUS(cudaGraphDestroy(graph), cudaSuccess);
  CHECK_STATUS(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK(values.values()[0] == 1 && result[0] == 0, "captured work ran");
  for (int replay = 0; replay < 3; replay++) {
    staging[0] = replay;
    CHECK_STATUS(cudaGraphLaunch(executable, stream), cudaSuccess);
    CHECK(result[0] == (replay == 0 ? 0 : 2 * (replay - 1 + 7)), "ran before anybody waited");
    CHECK_STATUS(cudaStreamSynchronize(stream), cudaSuccess);
    CHECK(result[0] == 2 * (replay + 7) && result[3] == 214, "replay " + std::to_string(result[0]));
  }
  CHECK_STATUS(cudaGraphExecDestroy(executable), cudaSuccess);
  CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_CASE("what waits or allocates spoils a capture, of its own thread or in global mode") {
  const Machine machine;
  const cudaStream_t stream = make_stream(cudaStreamDefault);
  const cudaStream_t other = make_stream();
  const Device<int> values(4, 1);
  int host[4] = {};
  void* memory = nullptr;
  // What `call` gave, and then the end of the capture.
  const auto in_capture = [&](cudaStreamCaptureMode mode, bool same_thread,
                              const std::function<cudaError_t()>& call) {
    CHECK_STATUS(cudaStreamBeginCapture(stream, mode), cudaSuccess);
    cudaError_t status = cudaSuccess;
    if (same_thread) {
      status = call();
    } else {
      std::thread([&] { status = call(); }).join();
    }
    cudaGraph_t graph = nullptr;
    CHECK_STATUS(cudaStreamEndCapture(stream, &graph),
                 status == cudaSuccess ? cudaSuccess : cudaErrorStreamCaptureInvalidated);
    if (graph != nullptr) cudaGraphDestroy(graph);
    return status;
  };
  const std::function<cudaError_t()> wait = [&] { return cudaStreamSynchronize(stream); };
  const std::function<cudaError_t()> wait_for_all = [] { return cudaDeviceSynchronize(); };
  const std::function<cudaError_t()> copy = [&] {
    return cudaMemcpy(host, values.data(), 16, cudaMemcpyDeviceToHost);
  };
  const std::function<cudaError_t()> allocate = [&] {
    const cudaError_t status = cudaMalloc(&memory, 4);
    if (status == cudaSuccess) cudaFree(memory);
    return status;
  };
  const std::function<cudaError_t()> wait_for_other = [&] { return cudaStreamSynchronize(other); };
  const std::function<cudaError_t()> use_default = [&] {
    return cudaMemsetAsync(values.data(), 0, 16, nullptr);
  };
  for (const cudaStreamCaptureMode mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal}) {
    for (const bool same_thread : {true, false}) {
      CHECK_STATUS(in_capture(mode, same_thread, wait), cudaErrorStreamCaptureUnsupported);
      CHECK_STATUS(in_capture(mode, same_thread, wait_for_all), cudaErrorStreamCaptureUnsupported);
      CHECK_STATUS(in_capture(mode, same_thread, use_default), cudaErrorStreamCaptureImplicit);
      const bool forbidden = same_thread || mode == cudaStreamCaptureModeGlobal;
      const cudaError_t expected = forbidden ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
      CHECK_STATUS(in_capture(mode, same_thread, allocate), expected);
      CHECK_STATUS(in_capture(mode, same_thread, wait_for_other), expected);
      CHECK_STATUS(in_capture(mode, same_thread, copy),
                   forbidden ? cudaErrorStreamCaptureUnsupported : cudaErrorStreamCaptureImplicit);
    }
  }
  cudaGraph_t graph = nullptr;
  CHECK_STATUS(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnmatched);
  CHECK_STATUS(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal),
               cudaErrorStreamCaptureUnsupported);
  CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);
  CHECK_STATUS(cudaStreamDestroy(other), cudaSuccess);
}

// --- memory ----------------------------------------------------------------------------------------------

TEST_CASE("device memory begins as poison, has a limit, and copies stay inside of it") {
  const Machine machine;
  emulator::settings().memory_bytes = 1000;
  void* large = nullptr;
  void* small = nullptr;
  CHECK_STATUS(cudaMalloc(&large, 1001), cudaErrorMemoryAllocation);
  CHECK_STATUS(cudaGetLastError(), cudaErrorMemoryAllocation);
  CHECK_STATUS(cudaGetLastError(), cudaSuccess);
  CHECK_STATUS(cudaMalloc(&large, 900), cudaSuccess);
  CHECK_STATUS(cudaMalloc(&small, 101), cudaErrorMemoryAllocation);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  CHECK_STATUS(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  CHECK(free_bytes == 100 && total_bytes == 1000, "free " + std::to_string(free_bytes));

  std::vector<unsigned char> host(1000);
  auto* bytes = static_cast<unsigned char*>(large);
  CHECK_STATUS(cudaMemcpy(host.data(), bytes, 900, cudaMemcpyDeviceToHost), cudaSuccess);
  CHECK(host[0] == 0xff && host[899] == 0xff && host[900] == 0, "poison");
  CHECK_STATUS(cudaMemcpy(host.data(), bytes + 1, 900, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  CHECK_STATUS(cudaMemcpy(bytes, host.data(), 901, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  CHECK_STATUS(cudaMemcpy(bytes, host.data(), 10, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  CHECK_STATUS(cudaMemset(bytes + 890, 0, 11), cudaErrorInvalidValue);
  CHECK_STATUS(cudaMemset(bytes, 3, 900), cudaSuccess);
  CHECK_STATUS(cudaMemcpy2D(host.data(), 4, bytes, 10, 2, 3, cudaMemcpyDeviceToHost), cudaSuccess);
  CHECK(host[0] == 3 && host[2] == 0xff && host[4] == 3 && host[9] == 3 && host[10] == 0xff, "rows");

  CHECK_STATUS(cudaFree(bytes + 1), cudaErrorInvalidValue);
  CHECK_STATUS(cudaFree(large), cudaSuccess);
  CHECK_STATUS(cudaFree(large), cudaErrorInvalidValue);
  CHECK_STATUS(cudaFree(nullptr), cudaSuccess);
  CHECK_STATUS(cudaMalloc(&small, 0), cudaSuccess);
  CHECK(small == nullptr, "no bytes, no memory");
}

// --- devices ---------------------------------------------------------------------------------------------

TEST_CASE("a missing driver, a missing device and an injected failure give their errors") {
  const Machine machine;
  int count = -1;
  int version = -1;
  void* memory = nullptr;
  emulator::settings().num_devices = 0;
  CHECK_STATUS(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  CHECK(count == 0, "count");
  CHECK_STATUS(cudaMalloc(&memory, 1), cudaErrorNoDevice);
  CHECK(std::strcmp(cudaGetErrorString(cudaErrorNoDevice), "no CUDA-capable device is detected") == 0,
        "words");
  emulator::settings().has_driver = false;
  CHECK_STATUS(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  CHECK_STATUS(cudaDriverGetVersion(&version), cudaSuccess);
  CHECK(version == 0, "a version without a driver");

  emulator::settings() = {};
  emulator::settings().num_devices = 2;
  emulator::settings().compute_capability = 86;
  CHECK_STATUS(cudaGetDeviceCount(&count), cudaSuccess);
  CHECK(count == 2, "count");
  CHECK_STATUS(cudaSetDevice(2), cudaErrorInvalidDevice);
  CHECK_STATUS(cudaSetDevice(1), cudaSuccess);
  cudaDeviceProp properties;
  CHECK_STATUS(cudaGetDeviceProperties(&properties, 1), cudaSuccess);
  CHECK(properties.major == 8 && properties.minor == 6 && properties.multiProcessorCount == 3, "properties");
  int value = 0;
  CHECK_STATUS(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 1), cudaSuccess);
  CHECK(value == 99 << 10, "shared memory of 8.6");
  const cudaStream_t stream = make_stream();
  CHECK_STATUS(cudaSetDevice(0), cudaSuccess);
  const cudaLaunchConfig_t elsewhere = {dim3(1), dim3(1), 0, stream, nullptr, 0};
  CHECK_STATUS(cudaLaunchKernelEx(&elsewhere, nothing), cudaErrorInvalidResourceHandle);
  CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);

  emulator::set_failing_call(1, cudaErrorMemoryAllocation);
  CHECK_STATUS(cudaMalloc(&memory, 1), cudaSuccess);
  CHECK_STATUS(cudaFree(memory), cudaErrorMemoryAllocation);
  CHECK_STATUS(cudaFree(memory), cudaSuccess);
  CHECK(emulator::num_api_calls() == 3, "calls");
}

}  // namespace
}  // namespace elasticlm::test

#else

#include <cstdio>

#include "test/check.h"

TEST_CASE("the emulator: the runtime") { std::printf("skipped: not in this build\n"); }

#endif
