// The twins of PTX's mbarrier, TMA, WGMMA and setmaxnreg, and of the proxy fence. ptx.h gives them the names
// of kernels/cuda/ptx.cuh.
//
// The freedom that the manual gives the hardware is used against the kernel: a TMA copy lands at a moment of
// the scheduler's choice, as late as when nobody else can run, and its destination is NaN until then; a WGMMA
// reads its operands at such a moment before the wgmma_wait that retires it, and its accumulators are NaN
// until then.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/tensor_map.h"

namespace elasticlm::emulator {

void mbarrier_init(uint32_t barrier, uint32_t arrivals);
void mbarrier_init_fence();
void mbarrier_arrive(uint32_t barrier);
void mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes);
void mbarrier_wait(uint32_t barrier, uint32_t parity);

void tma_load(uint32_t shared, const cuda::TensorMap* map, int32_t column, int32_t row, uint32_t barrier);
void tma_prefetch(const cuda::TensorMap* map);
void fence_proxy_async();

// One thread's part in a product [64, N] += A [64, 16] B [16, N].
struct WgmmaCall {
  DType dtype = DType::kBF16;
  int n = 0;
  bool n_major = false;  // B
  float* acc = nullptr;  // [n / 2]
  uint64_t a = 0;        // matrix descriptors
  uint64_t b = 0;
  bool accumulate = false;
};
void wgmma(const WgmmaCall& call);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int pending);

void registers_decrease(uint32_t registers);
void registers_increase(uint32_t registers);

}  // namespace elasticlm::emulator
