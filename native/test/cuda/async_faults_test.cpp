// What the emulator says about kernels that use TMA, mbarriers and WGMMA as the hardware does not define:
// each is wrong in one way, and all of them would hang or be wrong now and then on a GPU. And the parts of
// the twins that are plain functions.
#include <cstdio>

#include "test/check.h"

#if defined(ELASTICLM_EMULATED)
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "emulator/async/layout.h"
#include "emulator/async/mbarrier_state.h"
#include "emulator/async/product.h"
#include "emulator/emulator.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"
#include "test/cuda/device_test.h"

namespace elasticlm::test {
namespace {

using cuda::bf16;
using cuda::TensorMap;
namespace ptx = cuda::ptx;

constexpr int kN = 64;
constexpr int kTileBytes = 64 * 128;

enum class Mistake {
  kNone,
  kNoInitFence,
  kNoWait,  // for the copies
  kNoWgmmaFence,
  kNoProxyFence,           // after an ordinary write to an operand
  kOrdinaryWriteInFlight,  // to the destination of a copy
  kEarlyRefill,            // of an operand, before the wgmma_wait
  kReadBeforeWait,         // of accumulators
  kWriteBeforeWait,
  kOtherDescriptors,  // in one thread
  kThreeWarps,        // come to the wgmma
  kUnwaitedCopy,      // at the kernel's end
  kTooManyArrivals,
  kTooFewBytes,  // expected
  kTooManyBytes,
  kWriteOverBarrier,
  kNoBarrier,
  kMisalignedTile,
  kTwoCopies,  // to one place
  kNoSwizzle,
  kBaseOffset,
  kNoStride,
  kOffPattern,
  kEmptyMap,
  kTooManyRegisters,
};

struct Shared {
  unsigned char a[kTileBytes];
  unsigned char b[kTileBytes];
  uint64_t barrier;
  uint64_t end[16];
};

uint64_t descriptor(uint32_t start) {
  return uint64_t{start >> 4} | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

uint64_t mistaken_descriptor(uint32_t start, Mistake mistake) {
  const uint64_t good = descriptor(start);
  switch (mistake) {
    case Mistake::kNoSwizzle:
      return good & ~(uint64_t{3} << 62);
    case Mistake::kBaseOffset:
      return good | uint64_t{1} << 49;
    case Mistake::kNoStride:
      return good & ~(uint64_t{0x3fff} << 32);
    case Mistake::kOffPattern:
      return descriptor(start + 128);
    case Mistake::kOtherDescriptors:
      return threadIdx.x == 77 ? descriptor(start + 32) : good;
    default:
      return good;
  }
}

void copy_tiles(const TensorMap& map, Mistake mistake, Shared& shared) {
  const uint32_t barrier = ptx::shared_address(&shared.barrier);
  const uint32_t a = ptx::shared_address(shared.a) + (mistake == Mistake::kMisalignedTile ? 128u : 0u);
  const uint32_t wrong = mistake == Mistake::kTooFewBytes ? 1024u : 0u;
  ptx::mbarrier_arrive_expect(barrier,
                              2 * kTileBytes - wrong + (mistake == Mistake::kTooManyBytes ? 1024u : 0u));
  ptx::tma_load(a, &map, 0, 0, mistake == Mistake::kNoBarrier ? barrier + 8 : barrier);
  ptx::tma_load(mistake == Mistake::kTwoCopies ? a : ptx::shared_address(shared.b), &map, 0, 0, barrier);
  if (mistake == Mistake::kOrdinaryWriteInFlight) shared.a[5] = 1;
  if (mistake == Mistake::kTooManyArrivals) ptx::mbarrier_arrive(barrier);
  if (mistake == Mistake::kWriteOverBarrier) shared.barrier = 0;
}

// One product of [64, 16] by [64, 16]ᵀ, with one mistake.
void mistaken_kernel(const TensorMap map, float* d, Mistake mistake) {
  auto& shared = *reinterpret_cast<Shared*>(cuda::shared_memory());
  const uint32_t barrier = ptx::shared_address(&shared.barrier);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, 1);
    if (mistake != Mistake::kNoInitFence) ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (mistake == Mistake::kTooManyRegisters) {
    if (threadIdx.x >= 128) return;
    ptx::registers_decrease<64>();
    __syncwarp();
    ptx::registers_increase<256>();
  }
  if (threadIdx.x == 0) copy_tiles(map, mistake, shared);
  if (mistake != Mistake::kNoWait && mistake != Mistake::kUnwaitedCopy) ptx::mbarrier_wait(barrier, 0);
  if (mistake == Mistake::kUnwaitedCopy) return;

  if (mistake == Mistake::kNoProxyFence && threadIdx.x == 3) shared.b[0] = 7;
  float acc[kN / 2];
  const uint64_t a = mistaken_descriptor(ptx::shared_address(shared.a), mistake);
  const uint64_t b = descriptor(ptx::shared_address(shared.b));
  if (mistake == Mistake::kThreeWarps && threadIdx.x >= 96) return;
  if (mistake != Mistake::kNoWgmmaFence) ptx::wgmma_fence();
  ptx::wgmma_m64k16<bf16, kN, ptx::Major::kK>(acc, a, b, false);
  ptx::wgmma_commit();
  float early = 0.0f;
  if (mistake == Mistake::kReadBeforeWait) early = acc[0];
  if (mistake == Mistake::kWriteBeforeWait) acc[3] = 0.0f;
  if (mistake == Mistake::kEarlyRefill && threadIdx.x == 0) copy_tiles(map, Mistake::kNone, shared);
  ptx::wgmma_wait<0>();
  for (int i = 0; i < kN / 2; ++i) d[threadIdx.x * (kN / 2) + static_cast<unsigned>(i)] = acc[i] + early;
}

// What the emulator said; empty when it said nothing.
std::string fault_of(Mistake mistake, int seed, std::vector<float>* result = nullptr) {
  emulator::set_seed(static_cast<uint64_t>(seed));
  Random random(3);
  HostMatrix host(DType::kBF16, 64, 64, 64);
  for (int64_t row = 0; row < 64; ++row) host.fill(random, row, 0, 64, 1.0f);
  const DeviceMemory memory = host.upload();
  TensorMap map;
  if (mistake != Mistake::kEmptyMap) {
    map = cuda::make_tensor_map({.data = host.view(memory).data,
                                 .dtype = DType::kBF16,
                                 .rows = 64,
                                 .columns = 64,
                                 .ld = 64,
                                 .box_rows = 64});
  }
  DeviceArray<float> d(128 * kN / 2);
  try {
    // Three warpgroups have too small shares of the register file for one to have 256.
    const unsigned threads = mistake == Mistake::kTooManyRegisters ? 384 : 128;
    cuda::launch(&mistaken_kernel, {.block = {threads, 1, 1}, .shared_bytes = sizeof(Shared)}, map, d.data(),
                 mistake);
    const std::vector<float> values = d.values();
    if (result != nullptr) *result = values;
  } catch (const emulator::Fault& fault) {
    emulator::forget_work();
    return fault.what();
  }
  return "";
}

// Under every seed.
void check_fault(Mistake mistake, const std::string& words) {
  for (int seed = 0; seed < 20; ++seed) {
    const std::string fault = fault_of(mistake, seed);
    CHECK(fault.find(words) != std::string::npos, "seed " + std::to_string(seed) +
                                                      ": expected a fault with \"" + words +
                                                      "\", received \"" + fault + "\"");
  }
}

// For a mistake that chance may forgive: the copy that nobody waits for can be early.
void check_often(Mistake mistake, const std::string& words) {
  constexpr int kTries = 20;
  int num_noticed = 0;
  for (int seed = 0; seed < kTries; ++seed) {
    if (fault_of(mistake, seed).find(words) != std::string::npos) ++num_noticed;
  }
  CHECK(num_noticed >= kTries / 2, "\"" + words + "\" only under " + std::to_string(num_noticed) + " of " +
                                       std::to_string(kTries) + " seeds");
}

TEST_CASE("a kernel without a mistake runs") {
  for (int seed = 0; seed < 20; ++seed) {
    std::vector<float> result;
    const std::string fault = fault_of(Mistake::kNone, seed, &result);
    CHECK(fault.empty(), fault);
    for (const float value : result) CHECK(std::isfinite(value), "an element is not finite");
  }
}

TEST_CASE("missing fences are faults") {
  check_fault(Mistake::kNoInitFence, "without a mbarrier_init_fence");
  check_fault(Mistake::kNoWgmmaFence, "the fence is missing");
  check_fault(Mistake::kNoProxyFence, "without a fence_proxy_async");
}

TEST_CASE("what is used before it is there is a fault") {
  check_fault(Mistake::kEarlyRefill, "a WGMMA that nobody has waited for");
  check_fault(Mistake::kWriteBeforeWait, "written by ordinary code");
  check_fault(Mistake::kOrdinaryWriteInFlight, "while it was in flight");
  check_fault(Mistake::kTwoCopies, "another copy is in flight");
  check_often(Mistake::kNoWait, "to which a TMA copy is in flight");
  check_often(Mistake::kUnwaitedCopy, "operations in flight");
}

TEST_CASE("accumulators are not to be had before the wait") {
  for (int seed = 0; seed < 20; ++seed) {
    std::vector<float> result;
    const std::string fault = fault_of(Mistake::kReadBeforeWait, seed, &result);
    CHECK(fault.empty(), fault);
    for (const float value : result) CHECK(std::isnan(value), "an accumulator was read before the wait");
  }
}

TEST_CASE("a warpgroup that does not come as one is a fault") {
  check_fault(Mistake::kOtherDescriptors, "different instructions, descriptors");
  check_fault(Mistake::kThreeWarps, "");
}

TEST_CASE("wrong counts of an mbarrier are faults") {
  check_fault(Mistake::kTooManyArrivals, "one more arrival");
  check_fault(Mistake::kTooManyBytes, "mbarrier_wait");
  check_fault(Mistake::kTooFewBytes, "mbarrier_wait");
  check_fault(Mistake::kTooManyRegisters, "for registers that other warpgroups release");
  check_fault(Mistake::kWriteOverBarrier, "something was written over it");
  check_fault(Mistake::kNoBarrier, "no mbarrier has been initialised");
}

TEST_CASE("wrong descriptors, maps and addresses are faults") {
  check_fault(Mistake::kMisalignedTile, "not a multiple of the swizzle's 1024");
  check_fault(Mistake::kNoSwizzle, "swizzle mode 0");
  check_fault(Mistake::kBaseOffset, "base offset");
  check_fault(Mistake::kNoStride, "stride byte offset of 0");
  check_fault(Mistake::kOffPattern, "of its swizzle pattern");
  check_fault(Mistake::kEmptyMap, "not a tensor map");
}

TEST_CASE("the swizzle is the manual's") {
  using emulator::swizzle_128;
  for (uint32_t address = 0; address < 4096; ++address) {
    const uint32_t row = address / 128 % 8;
    const uint32_t chunk = address / 16 % 8;
    CHECK(swizzle_128(address) == address / 128 * 128 + (chunk ^ row) * 16 + address % 16,
          std::to_string(address));
    CHECK(swizzle_128(swizzle_128(address)) == address, std::to_string(address));
  }
}

TEST_CASE("operands lie where the canonical layouts say") {
  const emulator::MatrixDescriptor d = emulator::decode_descriptor(
      uint64_t{4096 >> 4} | uint64_t{8192 >> 4} << 16 | uint64_t{2048 >> 4} << 32 | uint64_t{1} << 62);
  const emulator::MatrixDescriptor expected = {.start = 4096,
                                               .leading_offset = 8192,
                                               .stride_offset = 2048,
                                               .base_offset = 0,
                                               .swizzle = 1,
                                               .reserved = 0};
  CHECK(d == expected, "fields");
  const emulator::OperandShape k_major = {.extent = 64, .mn_major = false};
  const emulator::OperandShape n_major = {.extent = 128, .mn_major = true};
  // Row 3 of the second pattern, second chunk: its number is xored with 3.
  CHECK(element_address(d, k_major, 11, 9) == 4096 + 2048 + 3 * 128 + (1 ^ 3) * 16 + 2, "K-major");
  // Depth 10 is row 2 of the second pattern; column 77 is element 5 of chunk 1 of the second 64.
  CHECK(element_address(d, n_major, 77, 10) == 4096 + 8192 + 2048 + 2 * 128 + (1 ^ 2) * 16 + 10, "N-major");
}

TEST_CASE("an mbarrier counts arrivals and bytes, and bytes may come first") {
  emulator::MbarrierState state;
  CHECK(state.init(0) != nullptr, "no arrivals");
  CHECK(state.init(2) == nullptr, "two arrivals");
  CHECK(state.completed(1) && !state.completed(0), "the phase before the first counts as complete");
  CHECK(state.complete(96) == nullptr && state.bytes() == -96, "bytes before they are expected");
  CHECK(state.arrive() == nullptr && !state.completed(0), "one arrival");
  CHECK(state.expect(128) == nullptr && state.arrive() == nullptr && !state.completed(0),
        "32 bytes are outstanding");
  CHECK(state.arrive() != nullptr, "a third arrival");
  CHECK(state.complete(32) == nullptr && state.completed(0) && !state.completed(1), "the first phase");
  CHECK(state.arrive() == nullptr && state.arrive() == nullptr && state.completed(1), "the second phase");
  CHECK(state.expect(1 << 20) != nullptr, "too many bytes");
}

TEST_CASE("every element of a product has one register") {
  for (const int n : {64, 256}) {
    std::vector<int> uses(static_cast<size_t>(64 * n));
    for (int thread = 0; thread < 128; ++thread) {
      for (int i = 0; i < n / 2; ++i) {
        const emulator::FragmentPlace place = emulator::fragment_place(thread, i);
        ++uses[static_cast<size_t>(place.row * n + place.column)];
      }
    }
    for (const int count : uses) CHECK(count == 1, "an element with " + std::to_string(count) + " registers");
  }
}

TEST_CASE("a sum is cut off, not rounded") {
  std::vector<float> d = {1.0f};
  d.resize(64, 0.0f);
  std::vector<float> a(64 * 16);
  a[0] = -0x1p-30f;
  emulator::product_m64k16(d, a, std::vector<float>(16, 1.0f), 1, true);
  CHECK(d[0] == 1.0f - 0x1p-24f, "1 - 2^-30");
}

}  // namespace
}  // namespace elasticlm::test

#else

TEST_CASE("faults") { std::printf("skipped: only the emulator tells\n"); }

#endif
