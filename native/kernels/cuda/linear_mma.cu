// linear_forward on mma.sync, compute capability 8.0 on. Four warps share a tile; one or two tiles are in
// work on each SM.
//
// What a SubLM leaves out costs nothing: rows, columns and depth of a tile are cut at 16, in what is loaded
// and in what is multiplied, and a tile cut to half or less of its rows or columns is shared out anew among
// the warps.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_mma_store.cuh"
#include "kernels/cuda/linear_mma_tile.cuh"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {
namespace {

template <typename T, WeightRows kRows, typename Tiles>
__global__ void __launch_bounds__(kMmaThreads, kMmaBlocksPerSm)
    linear_mma_kernel(const __grid_constant__ MmaArgs args) {
  using Block = MmaBlock<T, kRows, Tiles>;
  constexpr MmaConfig kConfig = Tiles::kConfig;
  const uint32_t ring = ptx::shared_address(shared_memory());
  // Records and weights were there before the forward's first kernel, so they are read before the wait; x and
  // y are not.
  TileShape shape = {kConfig.block_m, kConfig.block_n};
  int num_tiles = count_step_tiles(args.step, args.groups, shape);
  while (shape.columns > kConfig.least_columns && 2 * num_tiles <= args.num_sms) {
    shape.columns /= 2;
    num_tiles = count_step_tiles(args.step, args.groups, shape);
  }
  const int first_idx = static_cast<int>(blockIdx.x);
  const int grid = static_cast<int>(gridDim.x);
  for (int tile_idx = first_idx; tile_idx < num_tiles; tile_idx += grid) {
    typename Block::Sums sums = {};
    {
      LinearTile tile;
      find_tile(args.step, args.groups, shape, tile_idx, tile);
      typename Block::Loader loader = Block::make_loader(args, tile);
#pragma unroll
      for (int stage = 0; stage < kConfig.num_stages - 1; ++stage) {
        const int k = stage * kConfig.block_k;
        if (k < tile.group.depth) {
          Block::template load_weight<false>(args, loader, k, ring + stage * Block::kStageBytes);
        }
      }
      if (tile_idx == first_idx) ptx::grid_dependency_wait();
#pragma unroll
      for (int stage = 0; stage < kConfig.num_stages - 1; ++stage) {
        const int k = stage * kConfig.block_k;
        if (k < tile.group.depth) {
          Block::template load_x<false>(args, loader, k, ring + stage * Block::kStageBytes);
        }
        ptx::cp_async_commit();
      }
      // The next kernel's blocks may take up what is free on the SMs and fetch their weights.
      if (tile_idx + grid >= num_tiles) ptx::grid_dependency_launch();
      const WarpPart part = Block::warp_part(tile);
      if (tile.num_rows > kConfig.block_m - 16 && tile.num_columns == kConfig.block_n) {
        Block::template multiply_tile<true>(args, part, loader, sums);
      } else {
        Block::template multiply_tile<false>(args, part, loader, sums);
      }
    }
    LinearTile tile;  // found again: what is not needed between would take registers from the products
    find_tile(args.step, args.groups, shape, tile_idx, tile);
    MmaStore<T, kRows, Tiles>::store_tile(args, tile, Block::warp_part(tile), sums);
    __syncthreads();  // the staged sums lie where the next tile's stages go
  }
  // A kernel may only end after the one before it: the next one waits for this one alone.
  if (first_idx >= num_tiles) ptx::grid_dependency_wait();
}

// Blocks of a kernel that an SM runs at once, after asking for the kernel's shared memory. Found once for
// each device.
template <auto kKernel>
int resident_blocks(size_t shared_bytes) {
  static std::array<std::atomic<int>, 64> known = {};
  int device = 0;
  check(cudaGetDevice(&device), "to find the current device");
  std::atomic<int>* const slot = device < static_cast<int>(known.size()) ? &known[device] : nullptr;
  int blocks = slot != nullptr ? slot->load() : 0;
  if (blocks == 0) {
    allow_shared_memory(kKernel, shared_bytes);
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kKernel, kMmaThreads, shared_bytes),
          "to find how many blocks of a kernel an SM holds");
    if (slot != nullptr) slot->store(blocks);
  }
  return blocks;
}

template <typename T, WeightRows kRows, typename Tiles>
void launch_mma(const LinearArgs& args, const LaunchContext& context) {
  constexpr size_t kSharedBytes = MmaBlock<T, kRows, Tiles>::kSharedBytes;
  constexpr auto kKernel = linear_mma_kernel<T, kRows, Tiles>;
  const int64_t resident = static_cast<int64_t>(context.num_sms) * resident_blocks<kKernel>(kSharedBytes);
  const int64_t tiles = most_tiles(args, context, {Tiles::kConfig.block_m, Tiles::kConfig.least_columns});
  const MmaArgs kernel_args = {.epilogue = args.epilogue,
                               .num_sms = context.num_sms,
                               .weight = args.weight.data,
                               .bias = args.bias,
                               .x = args.x.data,
                               .y = args.y.data,
                               .ldw = static_cast<int32_t>(args.weight.ld),
                               .ldx = static_cast<int32_t>(args.x.ld),
                               .ldy = static_cast<int32_t>(args.y.ld),
                               .step = args.step,
                               .groups = args.groups,
                               .row_blocks = args.row_blocks};
  launch(kKernel,
         {.grid = dim3(static_cast<unsigned>(std::max<int64_t>(std::min(tiles, resident), 1))),
          .block = dim3(kMmaThreads),
          .shared_bytes = kSharedBytes,
          .stream = context.stream,
          .programmatic = context.programmatic},
         kernel_args);
}

// The time of a launch is that of its rounds over all SMs, here for a batch of one structure. A wide tile
// holds the products of four narrow ones and takes about the time of three: 16 of depth are 64 clocks of
// products and 96 of shared memory in a narrow tile, 256 and 192 in a wide one.
bool wide_is_faster(const LinearArgs& args, const LaunchContext& context) {
  const auto rounds = [&](const MmaConfig& config) {
    const int64_t tiles = most_tiles(args, {.max_rows = context.max_rows}, {config.block_m, config.block_n});
    return (tiles + context.num_sms - 1) / context.num_sms;
  };
  return 3 * rounds(WideTiles::kConfig) <= rounds(NarrowTiles::kConfig);
}

template <typename T, WeightRows kRows>
void launch_rows(const LinearArgs& args, const LaunchContext& context) {
  if (wide_is_faster(args, context)) {
    launch_mma<T, kRows, WideTiles>(args, context);
  } else {
    launch_mma<T, kRows, NarrowTiles>(args, context);
  }
}

}  // namespace

void linear_mma_forward(const LinearArgs& args, const LaunchContext& context) {
  for_dtype_16(args.dtype, [&]<typename T>() {
    if (args.weight_rows == WeightRows::kColumns) {
      launch_rows<T, WeightRows::kColumns>(args, context);
    } else {
      launch_rows<T, WeightRows::kDepth>(args, context);
    }
  });
}

}  // namespace elasticlm::cuda
