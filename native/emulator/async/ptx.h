// The asynchronous part of kernels/cuda/ptx.cuh in the emulator.
#pragma once

#include "emulator/async/async.h"

namespace elasticlm::cuda::ptx {

ELASTICLM_DEVICE void mbarrier_init(uint32_t barrier, uint32_t arrivals) {
  emulator::mbarrier_init(barrier, arrivals);
}
ELASTICLM_DEVICE void mbarrier_init_fence() { emulator::mbarrier_init_fence(); }
ELASTICLM_DEVICE void mbarrier_arrive(uint32_t barrier) { emulator::mbarrier_arrive(barrier); }
ELASTICLM_DEVICE void mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  emulator::mbarrier_arrive_expect(barrier, bytes);
}
ELASTICLM_DEVICE void mbarrier_wait(uint32_t barrier, uint32_t parity) {
  emulator::mbarrier_wait(barrier, parity);
}

ELASTICLM_DEVICE void tma_load(uint32_t shared, const TensorMap* map, int32_t column, int32_t row,
                               uint32_t barrier) {
  emulator::tma_load(shared, map, column, row, barrier);
}
ELASTICLM_DEVICE void tma_prefetch(const TensorMap* map) { emulator::tma_prefetch(map); }
ELASTICLM_DEVICE void fence_proxy_async() { emulator::fence_proxy_async(); }

template <typename T, int N, Major kMajor, int kSize>
ELASTICLM_DEVICE void wgmma_m64k16(float (&acc)[kSize], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kDTypeOf<T> != DType::kF32, "16-bit elements");
  static_assert(N == 64 || N == 128 || N == 192 || N == 256, "an N with an instruction");
  static_assert(kSize >= N / 2);
  emulator::wgmma({.dtype = kDTypeOf<T>,
                   .n = N,
                   .n_major = kMajor == Major::kN,
                   .acc = acc,
                   .a = a,
                   .b = b,
                   .accumulate = accumulate});
}
ELASTICLM_DEVICE void wgmma_fence() { emulator::wgmma_fence(); }
ELASTICLM_DEVICE void wgmma_commit() { emulator::wgmma_commit(); }
template <int kPending>
ELASTICLM_DEVICE void wgmma_wait() {
  static_assert(kPending >= 0 && kPending <= 7);
  emulator::wgmma_wait(kPending);
}
// The emulator's accumulators are memory that its twins read and write.
template <int kSize>
ELASTICLM_DEVICE void wgmma_pin(float (&)[kSize]) {}

template <int kRegisters>
ELASTICLM_DEVICE void registers_decrease() {
  emulator::registers_decrease(kRegisters);
}
template <int kRegisters>
ELASTICLM_DEVICE void registers_increase() {
  emulator::registers_increase(kRegisters);
}

}  // namespace elasticlm::cuda::ptx
