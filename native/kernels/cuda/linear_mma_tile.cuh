// The products of linear_mma.cu: a tile's operands come through a ring of shared memory by cp.async, are
// taken up by ldmatrix and multiplied into f32 registers by mma.sync.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {

inline constexpr int kMmaWarps = 4;
inline constexpr int kMmaThreads = kMmaWarps * kWarpThreads;
inline constexpr int kMmaStep = 16;      // depth of one mma, and the unit of all that is left out
inline constexpr int kCopyElements = 8;  // elements of a 16-byte copy

struct MmaConfig {
  int block_m = 0;
  int block_n = 0;
  int block_k = 0;
  int num_stages = 0;
  int least_columns = 0;  // tiles may be cut down to so many columns where there are too few for all SMs
  // 2: the fragments of a step are read while the step before it is multiplied. 1: right before.
  int num_fragment_buffers = 2;
};

// Two sets of a wide tile's fragments are what ptxas has registers for up to compute capability 9.0; for 10.0
// and 12.0 it spilled 1.6 KB of them (nvcc 13.0), and the SM's other block has to cover the reading there.
// The emulator takes the single set, so that it sees both ways: narrow tiles have two.
#if defined(ELASTICLM_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000)
inline constexpr int kWideFragmentBuffers = 1;
#else
inline constexpr int kWideFragmentBuffers = 2;
#endif

// Throughput. A warp's 64 x 64 elements take 128 registers, so two blocks are all that an SM holds. For 16 of
// depth the tile reads 16 KB and writes 8 KB of shared memory: 192 clocks beside the 256 that sm_80's tensor
// cores take for the products (1024 each clock); tiles of 64 x 32 for each of eight warps would need 256.
// Three stages of 16 KB: two blocks fit in the 100 KB of compute capability 8.6 and 8.9 and ask for no more
// than the 48 KB that need no permission, and the two stages ahead are 1000 clocks of work, more than L2's
// latency.
struct WideTiles {
  static constexpr MmaConfig kConfig = {.block_m = 128,
                                        .block_n = 128,
                                        .block_k = 32,
                                        .num_stages = 3,
                                        .least_columns = 128,
                                        .num_fragment_buffers = kWideFragmentBuffers};
};
// Few rows: more and smaller tiles, so that all SMs stream weights. With 64 x 32 elements the four stages
// ahead are 48 KB on their way to each SM, about what 48 bytes each clock and 1000 clocks from DRAM ask for.
// Two blocks fit on an SM of compute capability 8.0 and 9.0.
struct NarrowTiles {
  static constexpr MmaConfig kConfig = {
      .block_m = 64, .block_n = 64, .block_k = 64, .num_stages = 5, .least_columns = 16};
};
inline constexpr int kMmaBlocksPerSm = 2;

struct MmaArgs {
  Epilogue epilogue = Epilogue::kBias;
  int num_sms = 1;
  const void* weight = nullptr;  // [rows, ldw]
  const float* bias = nullptr;   // [N]
  const void* x = nullptr;       // [T, ldx]
  void* y = nullptr;             // [T, ldy]
  int32_t ldw = 0;
  int32_t ldx = 0;
  int32_t ldy = 0;
  const LinearStep* step = nullptr;
  const LinearGroup* groups = nullptr;
  const int32_t* row_blocks = nullptr;
};

// The part of a tile that a warp multiplies.
struct WarpPart {
  int row = 0;  // within the tile
  int column = 0;
  int m_pieces = 0;  // of 16 rows of which at least one is there
  int n_pieces = 0;  // of 16 columns
};

// Rows of a matrix in shared memory, kChunks copies of 16 bytes each. A chunk's place is exchanged with the
// row's number so that the same chunk of 8 rows in a row, which is what ldmatrix reads, lies in 8 different
// groups of banks; and so that adding an even number to a chunk is the exclusive or with 32 times its half,
// as long as it carries into no higher chunk.
template <int kChunks>
ELASTICLM_DEVICE uint32_t swizzled(int row, int chunk) {
  static_assert(kChunks == 4 || kChunks % 8 == 0);
  const int mask = kChunks == 4 ? row / 2 % 4 : row % 8;
  return static_cast<uint32_t>((row * kChunks + (chunk ^ mask)) * 16);
}

template <typename T, WeightRows kRows, typename Tiles>
struct MmaBlock {
  static constexpr MmaConfig kConfig = Tiles::kConfig;
  static constexpr int kStageSteps = kConfig.block_k / kMmaStep;
  static constexpr int kDepthChunks =
      kConfig.block_k / kCopyElements;  // of a row of x, and of a weight row for a column
  static constexpr int kWeightChunks =
      kRows == WeightRows::kColumns ? kDepthChunks : kConfig.block_n / kCopyElements;
  static constexpr int kWeightRows = kRows == WeightRows::kColumns ? kConfig.block_n : kConfig.block_k;
  static constexpr int kXBytes = kConfig.block_m * kDepthChunks * 16;
  static constexpr int kStageBytes = kXBytes + kWeightRows * kWeightChunks * 16;
  static constexpr size_t kSharedBytes = static_cast<size_t>(kConfig.num_stages) * kStageBytes;
  // Rows that all threads together copy a chunk of at once.
  static constexpr int kXPassRows = kMmaThreads / kDepthChunks;
  static constexpr int kWeightPassRows = kMmaThreads / kWeightChunks;
  static constexpr int kXPasses = kConfig.block_m / kXPassRows;
  static constexpr int kWeightPasses = kWeightRows / kWeightPassRows;
  static_assert(kXPassRows % 8 == 0 && kWeightPassRows % 8 == 0,
                "a pass keeps the swizzle of the one before");
  static_assert(kXBytes % 1024 == 0 && kStageBytes % 1024 == 0,
                "stages keep the low bits of the swizzle free");
  static constexpr int kMPieces = kConfig.block_m / 2 / 16;
  static constexpr int kNPieces = kConfig.block_n / 2 / 16;

  // Half of a tile's rows and columns for each warp; where half or more of one of them is missing, quarters
  // of the other.
  static ELASTICLM_DEVICE WarpPart warp_part(const LinearTile& tile) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const bool all_rows = tile.num_rows > kConfig.block_m / 2;
    const bool all_columns = tile.num_columns > kConfig.block_n / 2;
    const int row_warps = all_rows == all_columns ? 2 : all_rows ? 4 : 1;
    const int column_warps = kMmaWarps / row_warps;
    const int rows = (all_rows ? kConfig.block_m : kConfig.block_m / 2) / row_warps;
    const int columns = (all_columns ? kConfig.block_n : kConfig.block_n / 2) / column_warps;
    WarpPart part;
    part.row = warp / column_warps * rows;
    part.column = warp % column_warps * columns;
    part.m_pieces = min(max(parts_of(tile.num_rows - part.row, 16), 0), rows / 16);
    part.n_pieces = min(max((tile.num_columns - part.column) / 16, 0), columns / 16);
    return part;
  }

  // --- from global to shared memory ---

  // What a thread copies of a tile: a chunk of every pass.
  struct Loader {
    const T* x = nullptr;       // this thread's chunk of the tile's x in pass 0
    const T* weight = nullptr;  // its chunk of stored row 0
    uint32_t x_shared = 0;      // where they go, within a stage
    uint32_t weight_shared = 0;
    LinearGroup group;
    int num_rows = 0;
    int num_columns = 0;
    // Elements from stored row 0 to this thread's row of each pass (kColumns), or to the stored rows of each
    // step of depth of the stage that comes next (kDepth).
    uint32_t weight_offsets[kRows == WeightRows::kColumns ? kWeightPasses : kStageSteps] = {};
  };

  static ELASTICLM_DEVICE int x_row() { return static_cast<int>(threadIdx.x) / kDepthChunks; }
  static ELASTICLM_DEVICE int x_chunk() { return static_cast<int>(threadIdx.x) % kDepthChunks; }
  static ELASTICLM_DEVICE int weight_row() { return static_cast<int>(threadIdx.x) / kWeightChunks; }
  static ELASTICLM_DEVICE int weight_chunk() { return static_cast<int>(threadIdx.x) % kWeightChunks; }

  static ELASTICLM_DEVICE Loader make_loader(const MmaArgs& args, const LinearTile& tile) {
    Loader loader;
    loader.x = static_cast<const T*>(args.x) + int64_t{tile.row_begin + x_row()} * args.ldx +
               x_chunk() * kCopyElements;
    loader.x_shared = swizzled<kDepthChunks>(x_row(), x_chunk());
    loader.weight_shared = kXBytes + swizzled<kWeightChunks>(weight_row(), weight_chunk());
    loader.num_rows = tile.num_rows;
    loader.num_columns = tile.num_columns;
    loader.group = tile.group;
    loader.weight = static_cast<const T*>(args.weight) + weight_chunk() * kCopyElements;
    if constexpr (kRows == WeightRows::kColumns) {
#pragma unroll
      for (int pass = 0; pass < kWeightPasses; ++pass) {
        const int column = weight_row() + pass * kWeightPassRows;
        if (column >= tile.num_columns) continue;
        const int row = stored_row(tile.group, args.row_blocks, (tile.column_begin + column) / kRowBlock);
        loader.weight_offsets[pass] =
            static_cast<uint32_t>(row + column % kRowBlock) * static_cast<uint32_t>(args.ldw);
      }
    } else {
      loader.weight += tile.column_begin;
      find_depth_rows(args, 0, loader);
    }
    return loader;
  }

  // The stored rows of the stage at depth k; asked for one stage early, so that nobody waits for the list.
  static ELASTICLM_DEVICE void find_depth_rows(const MmaArgs& args, int k, Loader& loader) {
#pragma unroll
    for (int step = 0; step < kStageSteps; ++step) {
      if (k + step * kMmaStep >= loader.group.depth) break;
      loader.weight_offsets[step] =
          static_cast<uint32_t>(stored_row(loader.group, args.row_blocks, k / kMmaStep + step));
    }
  }

  // Depth k up to k + block_k of the tile's rows. Pieces without a row are not copied, rows that are not
  // there are zeros.
  template <bool kFull>
  static ELASTICLM_DEVICE void load_x(const MmaArgs& args, const Loader& loader, int k, uint32_t stage) {
    if (k + x_chunk() * kCopyElements >= loader.group.depth) return;
#pragma unroll
    for (int pass = 0; pass < kXPasses; ++pass) {
      const int row = x_row() + pass * kXPassRows;
      if (!kFull && row >= parts_of(loader.num_rows, 16) * 16) continue;
      ptx::cp_async_16(stage + loader.x_shared + pass * kXPassRows * kDepthChunks * 16,
                       loader.x + k + int64_t{pass * kXPassRows} * args.ldx, row < loader.num_rows);
    }
  }

  template <bool kFull>
  static ELASTICLM_DEVICE void load_weight(const MmaArgs& args, Loader& loader, int k, uint32_t stage) {
    const uint32_t shared = stage + loader.weight_shared;
    if constexpr (kRows == WeightRows::kColumns) {
      if (k + weight_chunk() * kCopyElements >= loader.group.depth) return;
#pragma unroll
      for (int pass = 0; pass < kWeightPasses; ++pass) {
        if (!kFull && weight_row() + pass * kWeightPassRows >= loader.num_columns) continue;
        ptx::cp_async_16(shared + pass * kWeightPassRows * kWeightChunks * 16,
                         loader.weight + loader.weight_offsets[pass] + k, true);
      }
    } else {
      if (kFull || weight_chunk() * kCopyElements < loader.num_columns) {
#pragma unroll
        for (int pass = 0; pass < kWeightPasses; ++pass) {
          constexpr int kPassRows = kWeightPassRows;
          const int row = weight_row() + pass * kPassRows;
          if (k + row >= loader.group.depth) continue;
          const uint32_t stored = loader.weight_offsets[pass * kPassRows / kMmaStep] + row % kMmaStep;
          ptx::cp_async_16(shared + pass * kPassRows * kWeightChunks * 16,
                           loader.weight + uint64_t{stored} * static_cast<uint32_t>(args.ldw), true);
        }
      }
      find_depth_rows(args, k + kConfig.block_k, loader);
    }
  }

  // --- from shared memory to registers ---

  struct Fragments {
    uint32_t x[kMPieces][4];
    uint32_t weight[kNPieces][4];  // two of 8 columns
  };

  // Where this lane's part of a stage's first fragments lies.
  struct FragmentPlace {
    uint32_t x = 0;
    uint32_t weight = 0;
  };

  static ELASTICLM_DEVICE FragmentPlace fragment_place(const WarpPart& part) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    FragmentPlace place;
    place.x = swizzled<kDepthChunks>(part.row + lane % 16, lane / 16);
    if constexpr (kRows == WeightRows::kColumns) {
      place.weight = kXBytes + swizzled<kDepthChunks>(part.column + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    } else {
      place.weight = kXBytes + swizzled<kWeightChunks>(lane % 16, part.column / kCopyElements + lane / 16);
    }
    return place;
  }

  template <bool kFull>
  static ELASTICLM_DEVICE void load_fragments(const WarpPart& part, const FragmentPlace& place,
                                              uint32_t stage, int step, Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < kMPieces; ++i) {
      if (!kFull && i >= part.m_pieces) break;
      ptx::ldmatrix_x4(fragments.x[i], ((stage + place.x) ^ (step * 32)) + i * 16 * kDepthChunks * 16);
    }
#pragma unroll
    for (int j = 0; j < kNPieces; ++j) {
      if (!kFull && j >= part.n_pieces) break;
      if constexpr (kRows == WeightRows::kColumns) {
        ptx::ldmatrix_x4(fragments.weight[j],
                         ((stage + place.weight) ^ (step * 32)) + j * 16 * kDepthChunks * 16);
      } else {
        ptx::ldmatrix_x4_trans(fragments.weight[j],
                               ((stage + place.weight) ^ (j * 32)) + step * kMmaStep * kWeightChunks * 16);
      }
    }
  }

  using Sums = float[kMPieces][2 * kNPieces][4];

  template <bool kFull>
  static ELASTICLM_DEVICE void multiply(const WarpPart& part, const Fragments& fragments, Sums& sums) {
#pragma unroll
    for (int i = 0; i < kMPieces; ++i) {
      if (!kFull && i >= part.m_pieces) break;
#pragma unroll
      for (int j = 0; j < kNPieces; ++j) {
        if (!kFull && j >= part.n_pieces) break;
        const uint32_t(&weight)[4] = fragments.weight[j];
        const uint32_t first[2] = {weight[0], weight[1]};
        const uint32_t second[2] = {weight[2], weight[3]};
        ptx::mma_m16n8k16<T>(sums[i][2 * j], fragments.x[i], first);
        ptx::mma_m16n8k16<T>(sums[i][2 * j + 1], fragments.x[i], second);
      }
    }
  }

  // The products of a tile whose first num_stages - 1 stages are on their way. When it returns, no copy is
  // under way and no warp reads the ring any more. kFull: every warp has all its pieces.
  template <bool kFull>
  static ELASTICLM_DEVICE void multiply_tile(const MmaArgs& args, const WarpPart& part, Loader& loader,
                                             Sums& sums) {
    const uint32_t ring = ptx::shared_address(shared_memory());
    const FragmentPlace place = fragment_place(part);
    const int num_steps = loader.group.depth / kMmaStep;
    constexpr bool kReadsAhead = kConfig.num_fragment_buffers == 2;
    Fragments fragments[kConfig.num_fragment_buffers];
    uint32_t read = ring;
    uint32_t write = ring + (kConfig.num_stages - 1) * kStageBytes;
    ptx::cp_async_wait<kConfig.num_stages - 2>();
    __syncthreads();
    if (kReadsAhead && num_steps > 0) load_fragments<kFull>(part, place, read, 0, fragments[0]);
    for (int stage_step = 0; stage_step < num_steps; stage_step += kStageSteps) {
      const int k = stage_step * kMmaStep + (kConfig.num_stages - 1) * kConfig.block_k;
      if (k < loader.group.depth) {
        load_weight<kFull>(args, loader, k, write);
        load_x<kFull>(args, loader, k, write);
      }
      ptx::cp_async_commit();
      write = read;  // the stage that this round reads is the next to be overwritten
      read = read == ring + (kConfig.num_stages - 1) * kStageBytes ? ring : read + kStageBytes;
#pragma unroll
      for (int step = 0; step < kStageSteps; ++step) {
        const bool is_last = step == kStageSteps - 1;
        const bool is_here = stage_step + step < num_steps;
        Fragments& current = fragments[step % kConfig.num_fragment_buffers];
        if (!kReadsAhead && is_here) load_fragments<kFull>(part, place, write, step, current);
        if (is_last) {  // this stage has been read by all, the next one is there for all
          ptx::cp_async_wait<kConfig.num_stages - 2>();
          __syncthreads();
        }
        if (kReadsAhead && stage_step + step + 1 < num_steps) {
          load_fragments<kFull>(part, place, is_last ? read : write, is_last ? 0 : step + 1,
                                fragments[(step + 1) % 2]);
        }
        if (is_here) multiply<kFull>(part, current, sums);
      }
    }
  }
};

}  // namespace elasticlm::cuda
