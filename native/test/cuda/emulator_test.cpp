// What kernels may rely on in the emulator, and what it says about kernels that rely on more: threads,
// barriers, shuffles, shared memory, cp.async.
#if defined(ELASTICLM_EMULATED)

#include "test/cuda/emulated.h"

namespace elasticlm::test {
namespace {

using cuda::kFullWarp;
using cuda::shared_memory;
namespace ptx = cuda::ptx;

int thread_rank() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}

// --- threads and barriers --------------------------------------------------------------------------------

__global__ void count_threads(int* counts) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  counts[block * threads + static_cast<unsigned>(thread_rank())]++;
  __syncthreads();
}

TEST_CASE("every thread of a 3-dimensional launch runs once, knowing where it stands") {
  const Machine machine;
  for (const dim3 block : {dim3(1), dim3(5, 3, 2), dim3(32, 2, 4), dim3(1024), dim3(7, 11, 13)}) {
    const dim3 grid(3, 2, 4);
    const size_t threads = size_t{24} * block.x * block.y * block.z;
    const Device<int> counts(threads, 0);
    cuda::LaunchShape shape;
    shape.grid = grid;
    shape.block = block;
    run(count_threads, shape, counts.data());
    for (const int count : counts.values()) CHECK(count == 1, "ran " + std::to_string(count) + " times");
  }
}

__global__ void reverse(const int* x, int* y, bool with_barrier) {
  auto* shared = reinterpret_cast<int*>(shared_memory());
  shared[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncthreads();
  y[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

bool reverses(bool with_barrier) {
  std::vector<int> values(96);
  for (int i = 0; i < 96; i++) values[static_cast<size_t>(i)] = i;
  const Device<int> x(values);
  const Device<int> y(96, 0);
  run(reverse, shape_of(1, 96, 96 * sizeof(int)), x.data(), y.data(), with_barrier);
  const std::vector<int> reversed = y.values();
  for (int i = 0; i < 96; i++) {
    if (reversed[static_cast<size_t>(i)] != 95 - i) return false;
  }
  return true;
}

TEST_CASE("a barrier orders shared memory, and a missing one shows") {
  const Machine machine;
  CHECK(count_seeds([] { return reverses(true); }) == kNumSeeds, "wrong with the barrier");
  CHECK(count_seeds([] { return reverses(false); }) < kNumSeeds / 4, "the missing barrier went unseen");
}

// Warps write a ring in turn. With one barrier a step, two slots are enough; one slot is overwritten by a
// warp that is ahead of one which still has to read it.
__global__ void ring(int* errors, int num_slots) {
  auto* slots = reinterpret_cast<int*>(shared_memory());
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int step = 0; step < 8; step++) {
    if (warp == step % 4 && threadIdx.x % 32 == 0) slots[step % num_slots] = step;
    __syncthreads();
    for (int i = 0; i < 4; i++) __syncwarp();
    if (slots[step % num_slots] != step) errors[0]++;
  }
}

TEST_CASE("warps run ahead of each other between barriers") {
  const Machine machine;
  const auto is_right = [](int num_slots) {
    const Device<int> errors(1, 0);
    run(ring, shape_of(1, 128, 8), errors.data(), num_slots);
    return errors.values()[0] == 0;
  };
  CHECK(count_seeds([&] { return is_right(2); }) == kNumSeeds, "wrong with two slots");
  CHECK(count_seeds([&] { return is_right(1); }) < kNumSeeds / 4, "one slot went unseen");
}

__global__ void some_exit(int* unused, int limit) {
  if (static_cast<int>(threadIdx.x) >= limit) return;
  __syncthreads();
  unused[0] = 1;
}
__global__ void different_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    ptx::named_barrier_sync(1, 64);
  }
}
__global__ void different_operations() {
  if (threadIdx.x % 32 == 7) {
    __syncwarp();
  } else {
    __shfl_xor_sync(kFullWarp, 1, 1);
  }
}

TEST_CASE("a barrier that not all threads reach is a fault") {
  const Machine machine;
  const Device<int> unused(1, 0);
  for (const int limit : {32, 63, 1}) {
    CHECK(count_seeds([&] {
            return contains(fault_of([&] { run(some_exit, shape_of(1, 64), unused.data(), limit); }),
                            "divergent barrier");
          }) == kNumSeeds,
          "some threads exited");
  }
  CHECK_FAULT(run(different_barriers, shape_of(2, 64)), "divergent barrier");
  CHECK_FAULT(run(different_operations, shape_of(1, 32)), "different operations");
  run(some_exit, shape_of(1, 64), unused.data(), 64);
  CHECK(unused.values()[0] == 1, "no launch after a fault");
}

__global__ void fails_at(unsigned block, unsigned thread) {
  if (blockIdx.x == block && threadIdx.x == thread) ptx::cp_async_16(5, nullptr, false);
}

TEST_CASE("a fault names the kernel, the block and the thread") {
  const Machine machine;
  try {
    run(fails_at, shape_of(4, 64, 16), 2u, 33u);
    CHECK(false, "no fault");
  } catch (const emulator::Fault& fault) {
    CHECK(contains(fault.place.kernel, "fails_at"), fault.place.kernel);
    CHECK(fault.place.block.x == 2 && fault.place.thread.x == 33, fault.what());
  }
}

__global__ void order_of_threads(int* order) {
  __syncthreads();
  order[order[0]++] = thread_rank();
}

TEST_CASE("a seed decides the order of threads, and alone does") {
  const Machine machine;
  const auto order = [](uint64_t seed) {
    emulator::set_seed(seed);
    const Device<int> all(129, 1);
    run(order_of_threads, shape_of(1, 128), all.data());
    return all.values();
  };
  CHECK(order(5) == order(5), "differs with one seed");
  CHECK(order(5) != order(6), "the same with two seeds");
}

// --- shuffles and votes ----------------------------------------------------------------------------------

__global__ void shuffle_all(int* out, int argument, int width) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = __shfl_sync(kFullWarp, lane, argument, width);
  out[32 + lane] = __shfl_xor_sync(kFullWarp, lane, argument, width);
  out[64 + lane] = __shfl_down_sync(kFullWarp, lane, static_cast<unsigned>(argument), width);
  out[96 + lane] = __shfl_up_sync(kFullWarp, lane, static_cast<unsigned>(argument), width);
}

TEST_CASE("shuffles give what the programming guide says") {
  const Machine machine;
  for (const int width : {32, 16, 4}) {
    for (const int argument : {0, 1, 2, 3, 7, 16, 31}) {
      const Device<int> out(128, -1);
      run(shuffle_all, shape_of(1, 32), out.data(), argument, width);
      const std::vector<int> received = out.values();
      for (int lane = 0; lane < 32; lane++) {
        const int begin = lane / width * width;
        const int down = lane + argument < begin + width ? lane + argument : lane;
        const int up = lane - argument >= begin ? lane - argument : lane;
        const int other = lane ^ argument;
        const int expected[4] = {begin + argument % width, other < begin + width ? other : lane, down, up};
        for (int i = 0; i < 4; i++) {
          const int value = received[static_cast<size_t>(i * 32 + lane)];
          CHECK(value == expected[i], "shuffle " + std::to_string(i) + " of lane " + std::to_string(lane) +
                                          " width " + std::to_string(width) + " argument " +
                                          std::to_string(argument) + ": received " + std::to_string(value) +
                                          ", expected " + std::to_string(expected[i]));
        }
      }
    }
  }
}

__global__ void vote(unsigned* out, unsigned bits) {
  const int mine = static_cast<int>(bits >> threadIdx.x & 1);
  const unsigned ballot = __ballot_sync(kFullWarp, mine);
  const int any = __any_sync(kFullWarp, mine);
  const int all = __all_sync(kFullWarp, mine);
  // Halves of a warp by themselves.
  const unsigned half = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
  const unsigned of_half = __ballot_sync(half, mine);
  __syncwarp(half);
  if (of_half == (bits & half))
    out[threadIdx.x] = ballot == bits && any == (bits != 0) && all == (bits == ~0u);
}

TEST_CASE("votes count the lanes of their mask") {
  const Machine machine;
  for (const unsigned bits : {0u, 1u, 0x80000000u, 0x12345678u, ~0u}) {
    const Device<unsigned> out(32, 0u);
    run(vote, shape_of(1, 32), out.data(), bits);
    for (const unsigned right : out.values()) CHECK(right == 1, "bits " + std::to_string(bits));
  }
}

__global__ void shuffle_with_exited() {
  if (threadIdx.x == 9) return;
  __shfl_xor_sync(kFullWarp, 1.0f, 1);
}
__global__ void shuffle_from_outside() {
  if (threadIdx.x < 16) __shfl_sync(0xffffu, 1.0f, 20);
}
__global__ void overlapping_masks() { __syncwarp(threadIdx.x < 16 ? 0x1ffffu : 0xffff0001u); }
__global__ void not_in_mask() { __syncwarp(0xfffeu); }

TEST_CASE("a shuffle with lanes that take no part is a fault") {
  const Machine machine;
  CHECK(count_seeds([] {
          return contains(fault_of([] { run(shuffle_with_exited, shape_of(1, 32)); }), "exit");
        }) == kNumSeeds,
        "an exited lane");
  CHECK_FAULT(run(shuffle_from_outside, shape_of(1, 32)), "takes no part");
  CHECK_FAULT(run(overlapping_masks, shape_of(1, 32)), "overlap");
  CHECK_FAULT(run(not_in_mask, shape_of(1, 32)), "not in its own mask");
}

// --- named barriers --------------------------------------------------------------------------------------

// Warp 0 fills a slot that warps 1 and 2 read: full is barrier 1, empty is barrier 2.
__global__ void producer_consumer(int* errors, bool wait_for_empty) {
  auto* slot = reinterpret_cast<int*>(shared_memory());
  for (int step = 0; step < 6; step++) {
    if (threadIdx.x < 32) {
      if (step > 0 && wait_for_empty) ptx::named_barrier_sync(2, 96);
      slot[threadIdx.x] = step;
      ptx::named_barrier_arrive(1, 96);
    } else {
      ptx::named_barrier_sync(1, 96);
      if (slot[(threadIdx.x + 1) % 32] != step) errors[0]++;
      if (step < 5 && wait_for_empty) ptx::named_barrier_arrive(2, 96);
    }
  }
}
__global__ void barrier_of(int id, int threads) { ptx::named_barrier_sync(id, threads); }
__global__ void barrier_mismatch() { ptx::named_barrier_sync(1, threadIdx.x < 32 ? 64 : 96); }

TEST_CASE("named barriers hand a slot from producer to consumers") {
  const Machine machine;
  const Device<int> errors(1, 0);
  CHECK(count_seeds([&] {
          run(producer_consumer, shape_of(1, 96, 128), errors.data(), true);
          return errors.values()[0] == 0;
        }) == kNumSeeds,
        "wrong");
  // The producer comes again before the consumers have left, or overwrites what they read.
  CHECK(count_seeds([&] {
          const Device<int> seen(1, 0);
          const std::string fault =
              fault_of([&] { run(producer_consumer, shape_of(1, 96, 128), seen.data(), false); });
          return !fault.empty() || seen.values()[0] > 0;
        }) > kNumSeeds / 4,
        "a producer that does not wait went unseen");
  CHECK_FAULT(run(barrier_of, shape_of(1, 64), 0, 64), "ids 1 to 15");
  CHECK_FAULT(run(barrier_of, shape_of(1, 64), 16, 64), "ids 1 to 15");
  CHECK_FAULT(run(barrier_of, shape_of(1, 64), 1, 96), "in a block of 64");
  CHECK_FAULT(run(barrier_of, shape_of(1, 96), 1, 64), "deadlock");
  CHECK_FAULT(run(barrier_mismatch, shape_of(1, 96)), "where others said");
}

// --- shared memory and cp.async --------------------------------------------------------------------------

__global__ void look_at_shared(int* poisoned) {
  const unsigned char* shared = shared_memory();
  bool all = reinterpret_cast<uintptr_t>(shared) % 1024 == 0;
  for (int i = 0; i < 100; i++) all = all && shared[i] == 0xff;
  poisoned[blockIdx.x] = all;
  shared_memory()[blockIdx.x] = 0;
}
__global__ void load_at(int offset) {
  uint32_t r[4];
  ptx::ldmatrix_x4(r, ptx::shared_address(shared_memory()) + static_cast<uint32_t>(offset));
}
__global__ void address_outside(const float* global) { ptx::shared_address(global); }

TEST_CASE("shared memory begins as poison in each block, and its bounds and alignment are held") {
  const Machine machine;
  const Device<int> poisoned(5, 0);
  run(look_at_shared, shape_of(5, 1, 100), poisoned.data());
  for (const int each : poisoned.values()) CHECK(each == 1, "not poisoned or not aligned");
  run(load_at, shape_of(1, 32, 64), 48);
  CHECK_FAULT(run(load_at, shape_of(1, 32, 64), 8), "not a multiple of 16");
  CHECK_FAULT(run(load_at, shape_of(1, 32, 64), 64), "out of range");
  CHECK_FAULT(run(load_at, shape_of(1, 32, 60), 48), "out of range");
  CHECK_FAULT(run(load_at, shape_of(1, 32, 64), -16), "out of range");
  const Device<float> global(1);
  CHECK_FAULT(run(address_outside, shape_of(1, 1, 64), global.data()), "not in the block's shared memory");
}

struct CopyCase {
  int num_valid;  // of 4
  bool commit_last;
  bool change_source;
};

// Four groups of one copy each; `pending` may stay behind when they are read.
template <int kPending>
__global__ void copy_groups(uint4* source, uint4* out, CopyCase one) {
  auto* shared = reinterpret_cast<uint4*>(shared_memory());
  const uint32_t base = ptx::shared_address(shared);
  for (uint32_t i = 0; i < 4; i++) shared[i] = {1, 1, 1, 1};
  for (int i = 0; i < 4; i++) {
    ptx::cp_async_16(base + static_cast<uint32_t>(i) * 16, source + i, i < one.num_valid);
    if (i < 3 || one.commit_last) ptx::cp_async_commit();
  }
  out[4] = shared[0];
  if (one.change_source) source[0] = {9, 9, 9, 9};
  ptx::cp_async_wait<kPending>();
  for (int i = 0; i < 4; i++) out[i] = shared[i];
}
__global__ void copy_from(const unsigned char* source) {
  ptx::cp_async_16(ptx::shared_address(shared_memory()), source, true);
}

template <int kPending>
std::vector<uint4> copied(const CopyCase& one) {
  const Device<uint4> source(std::vector<uint4>{{2, 2, 2, 2}, {3, 3, 3, 3}, {4, 4, 4, 4}, {5, 5, 5, 5}});
  const Device<uint4> out(5);
  run(copy_groups<kPending>, shape_of(1, 1, 64), source.data(), out.data(), one);
  return out.values();
}

TEST_CASE("a copy lands at the wait for its group and not before") {
  const Machine machine;
  constexpr unsigned kPoison = 0xffffffffu;
  const std::vector<uint4> all = copied<0>({4, true, false});
  CHECK(all[4].x == kPoison, "landed before the wait");
  for (unsigned i = 0; i < 4; i++) CHECK(all[i].x == 2 + i && all[i].w == 2 + i, "did not land");
  const std::vector<uint4> but_one = copied<1>({4, true, false});
  CHECK(but_one[2].x == 4 && but_one[3].x == kPoison, "a pending group landed");
  const std::vector<uint4> but_three = copied<3>({4, true, false});
  CHECK(but_three[0].x == 2 && but_three[1].x == kPoison, "pending groups landed");
  const std::vector<uint4> uncommitted = copied<0>({4, false, false});
  CHECK(uncommitted[2].x == 4 && uncommitted[3].x == kPoison, "a copy outside of all groups landed");
  const std::vector<uint4> invalid = copied<0>({2, true, false});
  CHECK(invalid[1].x == 3 && invalid[2].x == 0 && invalid[3].w == 0, "an invalid copy gives zeros");
  const int num_changed = count_seeds([] { return copied<0>({4, true, true})[0].x == 9; });
  CHECK(num_changed > 0 && num_changed < kNumSeeds, "the source is read at one time only");

  const Device<unsigned char> bytes(40);
  CHECK_FAULT(run(copy_from, shape_of(1, 1, 64), bytes.data() + 8), "not a multiple of 16");
  CHECK_FAULT(run(copy_from, shape_of(1, 1, 64), bytes.data() + 32), "out of range");
  const std::vector<unsigned char> host(64);
  CHECK_FAULT(
      run(copy_from, shape_of(1, 1, 64), host.data() + 16 - reinterpret_cast<uintptr_t>(host.data()) % 16),
      "out of range");
}

}  // namespace
}  // namespace elasticlm::test

#else

#include <cstdio>

#include "test/check.h"

TEST_CASE("the emulator: threads") { std::printf("skipped: not in this build\n"); }

#endif
