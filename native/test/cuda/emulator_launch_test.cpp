// Launches in the emulator: their limits, what a block may rely on of other blocks and of the launch before
// it, and operations in flight.
#if defined(ELASTICLM_EMULATED)

#include "test/cuda/emulated.h"

namespace elasticlm::test {
namespace {

namespace ptx = cuda::ptx;

__global__ void nothing() {}

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

__global__ void leave_in_flight() {
  emulator::begin_operation(emulator::Landing::kAnyTime, [] {});
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
  CHECK_FAULT(run(leave_in_flight, shape_of(2, 1)), "operations in flight");
}

}  // namespace
}  // namespace elasticlm::test

#else

#include <cstdio>

#include "test/check.h"

TEST_CASE("the emulator: launches") { std::printf("skipped: not in this build\n"); }

#endif
