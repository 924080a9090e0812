// ptx.cuh in the emulator, all but mbarrier, TMA and WGMMA.
#pragma once

#include "emulator/fragment.h"
#include "emulator/thread.h"

namespace elasticlm::emulator {

// --- cp.async, of the current thread ---------------------------------------------------------------------
void copy_async(uint32_t shared, const void* global, bool valid);
void commit_copies();
// Lands all groups but the newest `num_pending`.
void wait_for_copies(int num_pending);

float exp2_approx(float x);
void add_release(uint32_t* global, uint32_t value);
uint32_t load_acquire(const uint32_t* global);
void grid_dependency_wait();
void grid_dependency_launch();

}  // namespace elasticlm::emulator

namespace elasticlm::cuda::ptx {

ELASTICLM_DEVICE uint32_t shared_address(const void* shared) { return emulator::shared_offset(shared); }

ELASTICLM_DEVICE void cp_async_16(uint32_t shared, const void* global, bool valid) {
  emulator::copy_async(shared, global, valid);
}
ELASTICLM_DEVICE void cp_async_commit() { emulator::commit_copies(); }
template <int kPending>
ELASTICLM_DEVICE void cp_async_wait() {
  static_assert(kPending >= 0);
  emulator::wait_for_copies(kPending);
}

ELASTICLM_DEVICE void ldmatrix_x4(uint32_t (&r)[4], uint32_t shared) {
  emulator::load_matrices(r, shared, false);
}
ELASTICLM_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t shared) {
  emulator::load_matrices(r, shared, true);
}

template <>
ELASTICLM_DEVICE void mma_m16n8k16<f16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulator::multiply_fragments(d, a, b, DType::kF16);
}
template <>
ELASTICLM_DEVICE void mma_m16n8k16<bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulator::multiply_fragments(d, a, b, DType::kBF16);
}

ELASTICLM_DEVICE float exp2_approx(float x) { return emulator::exp2_approx(x); }

ELASTICLM_DEVICE void named_barrier_sync(int id, int threads) { emulator::barrier_sync(id, threads); }
ELASTICLM_DEVICE void named_barrier_arrive(int id, int threads) { emulator::barrier_arrive(id, threads); }

ELASTICLM_DEVICE void add_release(uint32_t* global, uint32_t value) { emulator::add_release(global, value); }
ELASTICLM_DEVICE uint32_t load_acquire(const uint32_t* global) { return emulator::load_acquire(global); }

ELASTICLM_DEVICE void grid_dependency_wait() { emulator::grid_dependency_wait(); }
ELASTICLM_DEVICE void grid_dependency_launch() { emulator::grid_dependency_launch(); }

}  // namespace elasticlm::cuda::ptx

#include "emulator/async/ptx.h"
