// Every PTX instruction that kernels use, behind a name. The assembly stands in ptx_nvcc.cuh (and, for sm_90a
// alone, in wgmma_nvcc.cuh); native/emulator has a twin of each, written from the PTX manual and not from the
// assembly, with the freedom that the manual gives the hardware used against the kernel: data of an
// asynchronous copy lands only at its wait.
//
// "shared" addresses are 32-bit offsets in the block's shared window, as shared_address() gives them.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/tensor_map.h"

namespace elasticlm::cuda::ptx {

ELASTICLM_DEVICE uint32_t shared_address(const void* shared);

// --- asynchronous copies, sm_80
// ------------------------------------------------------------------------------------

// cp.async.cg.shared.global: 16 bytes, both sides 16-byte aligned. `valid` false writes zeros and reads
// nothing.
ELASTICLM_DEVICE void cp_async_16(uint32_t shared, const void* global, bool valid);
// cp.async.commit_group
ELASTICLM_DEVICE void cp_async_commit();
// cp.async.wait_group: this thread's copies but for the newest `kPending` groups have landed. Others see them
// after a barrier.
template <int kPending>
ELASTICLM_DEVICE void cp_async_wait();

// --- matrix fragments, sm_80
// ---------------------------------------------------------------------------------------

// ldmatrix.sync.aligned.m8n8.x4(.trans).shared.b16: lane l gives the address of row l % 8 of matrix l / 8 (16
// bytes, 16-byte aligned). All 32 lanes.
ELASTICLM_DEVICE void ldmatrix_x4(uint32_t (&r)[4], uint32_t shared);
ELASTICLM_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t shared);

// mma.sync.aligned.m16n8k16.row.col.f32.T.T.f32: d += a * b. All 32 lanes.
template <typename T>
ELASTICLM_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// --- arithmetic
// ----------------------------------------------------------------------------------------------------

// ex2.approx.ftz.f32: 2 to the power of x, relative error below 2^-22.5; 0 for x of -inf.
ELASTICLM_DEVICE float exp2_approx(float x);

// --- barriers
// ------------------------------------------------------------------------------------------------------

// bar.sync id, threads: of `threads` (a multiple of 32) threads of the block; ids 1 to 15 (0 is
// __syncthreads).
ELASTICLM_DEVICE void named_barrier_sync(int id, int threads);
// bar.arrive id, threads: counts this warp in and goes on.
ELASTICLM_DEVICE void named_barrier_arrive(int id, int threads);

// --- between blocks
// ------------------------------------------------------------------------------------------------

// red.release.gpu.global.add.u32
ELASTICLM_DEVICE void add_release(uint32_t* global, uint32_t value);
// ld.acquire.gpu.global.u32. A kernel may spin on it only when launched cooperatively.
ELASTICLM_DEVICE uint32_t load_acquire(const uint32_t* global);

// griddepcontrol.wait / .launch_dependents (sm_90; nothing before): see LaunchShape::programmatic.
ELASTICLM_DEVICE void grid_dependency_wait();
ELASTICLM_DEVICE void grid_dependency_launch();

// --- mbarrier and the tensor memory accelerator, sm_90
// ---------------------------------------------------------------

// An mbarrier is 8 bytes of shared memory, 8-byte aligned.
ELASTICLM_DEVICE void mbarrier_init(uint32_t barrier, uint32_t arrivals);
// fence.mbarrier_init.release.cluster and fence.proxy.async: after init, before a __syncthreads.
ELASTICLM_DEVICE void mbarrier_init_fence();
ELASTICLM_DEVICE void mbarrier_arrive(uint32_t barrier);
// mbarrier.arrive.expect_tx: one arrival, and the phase also waits for so many bytes.
ELASTICLM_DEVICE void mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes);
// Waits until the phase of parity `parity` (0 or 1; the first phase is 0) has completed.
ELASTICLM_DEVICE void mbarrier_wait(uint32_t barrier, uint32_t parity);

// cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes: the box whose first
// element is (column, row), elements outside the matrix as zeros; all bytes of the box count at `barrier`.
// One thread.
ELASTICLM_DEVICE void tma_load(uint32_t shared, const TensorMap* map, int32_t column, int32_t row,
                               uint32_t barrier);
ELASTICLM_DEVICE void tma_prefetch(const TensorMap* map);
// fence.proxy.async.shared::cta: ordinary writes to shared memory before it are seen by TMA and WGMMA after a
// barrier.
ELASTICLM_DEVICE void fence_proxy_async();

// --- warpgroup matrix products, sm_90a
// -------------------------------------------------------------------------------

// Where a B operand's 16-bit elements lie: K-major [N][K] or, transposed, N-major [K][N].
enum class Major { kK, kN };

// wgmma.mma_async.sync.aligned.m64nNk16.f32.T.T: acc += A B for the calling warpgroup; A [64, 16] K-major and
// B in shared memory, by matrix descriptors (PTX, "Matrix Descriptor Format"). N a multiple of 8 up to 256
// for which there is an instruction here: 64, 128, 192, 256. `accumulate` false starts from zero. Only the
// first N / 2 of acc take part.
template <typename T, int N, Major kMajor, int kSize>
ELASTICLM_DEVICE void wgmma_m64k16(float (&acc)[kSize], uint64_t a, uint64_t b, bool accumulate);
ELASTICLM_DEVICE void wgmma_fence();
ELASTICLM_DEVICE void wgmma_commit();
template <int kPending>
ELASTICLM_DEVICE void wgmma_wait();
// No instruction: the compiler moves no access to acc across it. Belongs before wgmma_fence and after
// wgmma_wait, which do not name the registers that they order.
template <int kSize>
ELASTICLM_DEVICE void wgmma_pin(float (&acc)[kSize]);

// setmaxnreg.{dec,inc}.sync.aligned.u32, whole warpgroup
template <int kRegisters>
ELASTICLM_DEVICE void registers_decrease();
template <int kRegisters>
ELASTICLM_DEVICE void registers_increase();

}  // namespace elasticlm::cuda::ptx

#if defined(ELASTICLM_EMULATED)
#include "emulator/ptx.h"
#else
#include "kernels/cuda/ptx_nvcc.cuh"
#endif
