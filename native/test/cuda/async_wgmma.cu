#include "test/cuda/async_wgmma.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::test {
namespace {

using cuda::kBoxColumns;
using cuda::kWarpgroupThreads;
using cuda::TensorMap;
namespace ptx = cuda::ptx;

constexpr int kRows = 64;
constexpr int kStages = 2;
constexpr int kStepDepth = 64;
constexpr int kInstructionDepth = 16;
constexpr int kRowBytes = 128;
constexpr uint32_t kPatternBytes = 1024;

struct Problem {
  float* d;  // [64, n]
  int num_steps;
  int box_rows;
};

// Tiles of a stage: A, then B.
template <int N>
struct Stages {
  unsigned char tiles[kStages][(kRows + N) * kRowBytes];
  uint64_t full[kStages];
  uint64_t empty[kStages];
};

// 128-byte swizzle; offsets in bytes.
ELASTICLM_DEVICE uint64_t descriptor(uint32_t start, uint32_t leading_offset, uint32_t stride_offset) {
  return uint64_t{start >> 4} | uint64_t{leading_offset >> 4} << 16 | uint64_t{stride_offset >> 4} << 32 |
         uint64_t{1} << 62;
}

template <int N, ptx::Major kMajor>
ELASTICLM_DEVICE void produce(const TensorMap* a, const TensorMap* b, const Problem& problem,
                              Stages<N>& stages) {
  for (int step = 0; step < problem.num_steps; ++step) {
    const int stage = step % kStages;
    const auto round = static_cast<uint32_t>(step / kStages);
    const uint32_t full = ptx::shared_address(&stages.full[stage]);
    const uint32_t tiles = ptx::shared_address(stages.tiles[stage]);
    ptx::mbarrier_wait(ptx::shared_address(&stages.empty[stage]), (round & 1) ^ 1);
    ptx::mbarrier_arrive_expect(full, (kRows + N) * kRowBytes);
    for (int row = 0; row < kRows; row += problem.box_rows) {
      ptx::tma_load(tiles + row * kRowBytes, a, step * kStepDepth, row, full);
    }
    const uint32_t b_tile = tiles + kRows * kRowBytes;
    if (kMajor == ptx::Major::kK) {
      for (int row = 0; row < N; row += problem.box_rows) {
        ptx::tma_load(b_tile + row * kRowBytes, b, step * kStepDepth, row, full);
      }
    } else {
      for (int column = 0; column < N; column += kBoxColumns) {
        for (int row = 0; row < kStepDepth; row += problem.box_rows) {
          ptx::tma_load(b_tile + (column / kBoxColumns * kStepDepth + row) * kRowBytes, b, column,
                        step * kStepDepth + row, full);
        }
      }
    }
  }
}

template <typename T, int N, ptx::Major kMajor>
ELASTICLM_DEVICE void multiply(const Problem& problem, Stages<N>& stages) {
  float acc[N / 2];
  for (int step = 0; step < problem.num_steps; ++step) {
    const int stage = step % kStages;
    ptx::mbarrier_wait(ptx::shared_address(&stages.full[stage]), static_cast<uint32_t>(step / kStages) & 1);
    const uint32_t tiles = ptx::shared_address(stages.tiles[stage]);
    ptx::wgmma_pin(acc);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kStepDepth; k += kInstructionDepth) {
      const uint64_t a = descriptor(tiles + k * 2, 0, kPatternBytes);
      const uint32_t b_tile = tiles + kRows * kRowBytes;
      const uint64_t b = kMajor == ptx::Major::kK
                             ? descriptor(b_tile + k * 2, 0, kPatternBytes)
                             : descriptor(b_tile + k * kRowBytes, kStepDepth * kRowBytes, kPatternBytes);
      ptx::wgmma_m64k16<T, N, kMajor>(acc, a, b, step > 0 || k > 0);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(acc);
    if (threadIdx.x % kWarpgroupThreads == 0) ptx::mbarrier_arrive(ptx::shared_address(&stages.empty[stage]));
  }
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) % kWarpgroupThreads / cuda::kWarpThreads;
#pragma unroll
  for (int i = 0; i < N / 2; ++i) {
    const int row = warp * 16 + lane / 4 + i / 2 % 2 * 8;
    problem.d[row * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = acc[i];
  }
}

template <typename T, int N, ptx::Major kMajor>
__global__ __launch_bounds__(2 * kWarpgroupThreads,
                             1) void tile_product_kernel(const __grid_constant__ TensorMap a,
                                                         const __grid_constant__ TensorMap b,
                                                         const Problem problem) {
  auto& stages = *reinterpret_cast<Stages<N>*>(cuda::shared_memory());
  if (threadIdx.x == 0) {
    ptx::tma_prefetch(&a);
    ptx::tma_prefetch(&b);
    for (int stage = 0; stage < kStages; ++stage) {
      ptx::mbarrier_init(ptx::shared_address(&stages.full[stage]), 1);
      // Every warpgroup that multiplies arrives once.
      ptx::mbarrier_init(ptx::shared_address(&stages.empty[stage]), 1);
    }
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    ptx::registers_decrease<40>();
    if (threadIdx.x == 0) produce<N, kMajor>(&a, &b, problem, stages);
  } else {
    ptx::registers_increase<232>();
    multiply<T, N, kMajor>(problem, stages);
  }
}

template <typename T, int N, ptx::Major kMajor>
void launch_product(const TileProductArgs& args) {
  cuda::allow_shared_memory(&tile_product_kernel<T, N, kMajor>, sizeof(Stages<N>));
  cuda::launch(&tile_product_kernel<T, N, kMajor>,
               {.block = {2 * kWarpgroupThreads, 1, 1}, .shared_bytes = sizeof(Stages<N>)}, args.a, args.b,
               Problem{args.d, args.depth / kStepDepth, args.box_rows});
}

template <typename T, ptx::Major kMajor>
void launch_columns(const TileProductArgs& args) {
  switch (args.n) {
    case 64:
      return launch_product<T, 64, kMajor>(args);
    case 128:
      return launch_product<T, 128, kMajor>(args);
    case 192:
      return launch_product<T, 192, kMajor>(args);
    default:
      return launch_product<T, 256, kMajor>(args);
  }
}

template <typename T>
void launch_major(const TileProductArgs& args) {
  if (args.n_major) return launch_columns<T, ptx::Major::kN>(args);
  launch_columns<T, ptx::Major::kK>(args);
}

}  // namespace

void tile_product_forward(const TileProductArgs& args) {
  if (args.dtype == DType::kF16) return launch_major<cuda::f16>(args);
  launch_major<cuda::bf16>(args);
}

}  // namespace elasticlm::test
