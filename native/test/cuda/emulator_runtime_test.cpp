// The emulated runtime API: what is asynchronous is late, what is limited fails, what a block may rely on of
// other blocks and of the launch before it.
#if defined(ELASTICLM_EMULATED)

#include <cstring>
#include <thread>

#include "test/cuda/emulated.h"

namespace elasticlm::test {
namespace {

namespace ptx = cuda::ptx;

__global__ void add(int* values, int amount) { values[threadIdx.x] += amount; }
__global__ void scale(int* values, int factor) { values[threadIdx.x] *= factor; }
__global__ void nothing() {}

cudaStream_t make_stream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream = nullptr;
  cuda::check(cudaStreamCreateWithFlags(&stream, flags), "to make a stream");
  return stream;
}

cuda::LaunchShape on(cudaStream_t stream, cuda::LaunchShape shape = shape_of(1, 4)) {
  shape.stream = stream;
  return shape;
}

#define CHECK_STATUS(call, expected)                                                       \
  do {                                                                                     \
    const cudaError_t status = (call);                                                     \
    CHECK(status == (expected), std::string(#call) + " gave " + cudaGetErrorName(status)); \
  } while (false)

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

TEST_CASE("what waits or allocates spoils a capture") {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  const Device<int> values(4, 1);
  int host[4] = {};
  void* memory = nullptr;
  const auto spoils = [&](auto&& call, cudaError_t expected) {
    CHECK_STATUS(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    CHECK_STATUS(call(), expected);
    cudaGraph_t graph = nullptr;
    CHECK_STATUS(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
  };
  spoils([&] { return cudaStreamSynchronize(stream); }, cudaErrorStreamCaptureUnsupported);
  spoils([&] { return cudaDeviceSynchronize(); }, cudaErrorStreamCaptureUnsupported);
  spoils([&] { return cudaMalloc(&memory, 4); }, cudaErrorStreamCaptureUnsupported);
  spoils([&] { return cudaMemcpy(host, values.data(), 16, cudaMemcpyDeviceToHost); },
         cudaErrorStreamCaptureUnsupported);
  spoils([&] { return cudaMemsetAsync(values.data(), 0, 16, nullptr); }, cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph = nullptr;
  CHECK_STATUS(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnmatched);
  CHECK_STATUS(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal),
               cudaErrorStreamCaptureUnsupported);
  CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);
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

// --- launches --------------------------------------------------------------------------------------------

cudaError_t try_launch(void (*kernel)(), const cuda::LaunchShape& shape) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeCooperative;
  attributes[0].val.cooperative = shape.cooperative;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = shape.programmatic;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel);
}

TEST_CASE("shared memory beyond 48 KB must be asked for, and has its limit") {
  const Machine machine;
  constexpr size_t kKilobyte = 1024;
  CHECK_STATUS(try_launch(nothing, shape_of(1, 32, 48 * kKilobyte)), cudaSuccess);
  CHECK_STATUS(try_launch(nothing, shape_of(1, 32, 48 * kKilobyte + 1)), cudaErrorInvalidValue);
  int blocks = -1;
  CHECK_STATUS(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 128, 100 * kKilobyte),
               cudaSuccess);
  CHECK(blocks == 0, "not asked for");
  CHECK_STATUS(
      cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * kKilobyte + 1),
      cudaErrorInvalidValue);
  cuda::allow_shared_memory(nothing, 100 * kKilobyte);
  CHECK_STATUS(try_launch(nothing, shape_of(1, 32, 100 * kKilobyte)), cudaSuccess);
  CHECK_STATUS(try_launch(nothing, shape_of(1, 32, 100 * kKilobyte + 1)), cudaErrorInvalidValue);
  CHECK_STATUS(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 128, 100 * kKilobyte),
               cudaSuccess);
  CHECK(blocks == 2, "by shared memory");
  CHECK_STATUS(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 1024, 0), cudaSuccess);
  CHECK(blocks == 2, "by threads");
  emulator::settings().compute_capability = 80;
  CHECK_STATUS(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 164 * kKilobyte),
               cudaErrorInvalidValue);
}

TEST_CASE("launches beyond the hardware's limits are refused") {
  const Machine machine;
  CHECK_STATUS(try_launch(nothing, shape_of(1, 1025)), cudaErrorInvalidConfiguration);
  CHECK_STATUS(try_launch(nothing, shape_of(0, 32)), cudaErrorInvalidConfiguration);
  cuda::LaunchShape tall = shape_of(1, 32);
  tall.grid.y = 65536;
  CHECK_STATUS(try_launch(nothing, tall), cudaErrorInvalidConfiguration);
  cuda::LaunchShape together = shape_of(6, 1024);
  together.cooperative = true;
  CHECK_STATUS(try_launch(nothing, together), cudaSuccess);
  together.grid.x = 7;
  CHECK_STATUS(try_launch(nothing, together), cudaErrorCooperativeLaunchTooLarge);
  cuda::LaunchShape early = shape_of(1, 32);
  early.programmatic = true;
  emulator::settings().compute_capability = 89;
  CHECK_STATUS(try_launch(nothing, early), cudaErrorNotSupported);
}

// --- blocks together -------------------------------------------------------------------------------------

// Every block adds to its left neighbour's value of the round before.
__global__ void walk(int* values, uint32_t* arrived, int num_rounds) {
  const int num_blocks = static_cast<int>(gridDim.x);
  const int block = static_cast<int>(blockIdx.x);
  for (int round = 0; round < num_rounds; round++) {
    if (threadIdx.x == 0) {
      const int* before = values + round % 2 * num_blocks;
      values[(round + 1) % 2 * num_blocks + block] = before[(block + 1) % num_blocks] + 1;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      ptx::add_release(arrived, 1);
      while (ptx::load_acquire(arrived) < static_cast<uint32_t>((round + 1) * num_blocks)) {
      }
    }
    __syncthreads();
  }
}
__global__ void wait_for_ever(uint32_t* flag) {
  while (ptx::load_acquire(flag) == 0) {
  }
}

TEST_CASE("blocks of a cooperative launch meet, those of another must not wait for each other") {
  const Machine machine;
  constexpr unsigned kBlocks = 6;
  cuda::LaunchShape shape = shape_of(kBlocks, 64);
  shape.cooperative = true;
  CHECK(count_seeds([&] {
          const Device<int> values(2 * kBlocks, 0);
          const Device<uint32_t> arrived(1, 0u);
          run(walk, shape, values.data(), arrived.data(), 4);
          const std::vector<int> all = values.values();
          for (unsigned i = 0; i < kBlocks; i++) {
            if (all[i] != 4) return false;
          }
          return true;
        }) == kNumSeeds,
        "a grid barrier");
  const Device<uint32_t> flag(1, 0u);
  CHECK_FAULT(run(wait_for_ever, shape_of(1, 1), flag.data()), "waits for what never comes");
}

// Adds by reading and writing, as if no other block did.
__global__ void careless_add(uint32_t* sum) {
  const uint32_t before = ptx::load_acquire(sum);
  __syncthreads();
  sum[0] = before + 1;
}
__global__ void careful_add(uint32_t* sum) { ptx::add_release(sum, 1); }

TEST_CASE("blocks of any launch run at the same time") {
  const Machine machine;
  const auto sum_of = [](void (*kernel)(uint32_t*)) {
    const Device<uint32_t> sum(1, 0u);
    run(kernel, shape_of(8, 1), sum.data());
    return sum.values()[0];
  };
  CHECK(count_seeds([&] { return sum_of(careful_add) == 8; }) == kNumSeeds, "an atomic addition was lost");
  CHECK(count_seeds([&] { return sum_of(careless_add) == 8; }) < kNumSeeds / 2,
        "a race of blocks went unseen");
}

// --- programmatic launches -------------------------------------------------------------------------------

__global__ void produce(int* values) { values[threadIdx.x] = static_cast<int>(threadIdx.x); }
__global__ void consume(const int* values, int* out, bool early) {
  int value = values[threadIdx.x];
  ptx::grid_dependency_wait();
  if (!early) value = values[threadIdx.x];
  out[threadIdx.x] = value;
  ptx::grid_dependency_launch();
}

TEST_CASE("a programmatic launch sees the one before only behind its wait") {
  const Machine machine;
  const cudaStream_t stream = make_stream();
  cuda::LaunchShape first = on(stream, shape_of(1, 64));
  cuda::LaunchShape second = first;
  second.programmatic = true;
  const auto is_right = [&](bool early, bool as_graph) {
    const Device<int> values(64, -1);
    const Device<int> out(64, -2);
    const Device<int> again(64, -3);
    if (as_graph) cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    cuda::launch(produce, first, values.data());
    cuda::launch(consume, second, values.data(), out.data(), early);
    cuda::launch(consume, second, out.data(), again.data(), early);
    if (as_graph) {
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t executable = nullptr;
      cudaStreamEndCapture(stream, &graph);
      cudaGraphInstantiate(&executable, graph);
      cudaGraphLaunch(executable, stream);
      cudaGraphExecDestroy(executable);
      cudaGraphDestroy(graph);
    }
    cudaStreamSynchronize(stream);
    return again.values()[63] == 63 && again.values()[0] == 0;
  };
  for (const bool as_graph : {false, true}) {
    CHECK(count_seeds([&] { return is_right(false, as_graph); }) == kNumSeeds, "wrong behind the wait");
    CHECK(count_seeds([&] { return is_right(true, as_graph); }) < kNumSeeds / 2,
          "a read before the wait went unseen");
  }
  second.stream = nullptr;
  CHECK_FAULT(run(nothing, second), "without grid_dependency_wait");
  CHECK_STATUS(cudaStreamDestroy(stream), cudaSuccess);
}

// --- operations in flight --------------------------------------------------------------------------------

__global__ void operate(int* out, emulator::Landing landing, bool tell) {
  struct Flags {
    int landed = 0;
  };
  int* landed = &emulator::block_state<Flags>().landed;
  const uint64_t id = emulator::begin_operation(landing, [landed] { ++*landed; });
  out[0] = *landed;
  if (tell) emulator::land_operation(id);
  emulator::wait_until([landed] { return *landed == 1; }, "the landing");
  out[1] = emulator::operation_in_flight(id);
}

TEST_CASE("an operation lands when the scheduler will have it, or when it is told to") {
  const Machine machine;
  for (const bool tell : {false, true}) {
    const Device<int> out(2, 7);
    run(operate, shape_of(2, 1), out.data(), emulator::Landing::kAnyTime, tell);
    CHECK(out.values()[0] == 0 && out.values()[1] == 0, "landed at once, or twice");
  }
  const Device<int> out(2, 7);
  run(operate, shape_of(1, 1), out.data(), emulator::Landing::kWhenTold, true);
  CHECK(out.values()[1] == 0, "did not land");
  CHECK_FAULT(run(operate, shape_of(1, 1), out.data(), emulator::Landing::kWhenTold, false), "the landing");
}

}  // namespace
}  // namespace elasticlm::test

#endif
