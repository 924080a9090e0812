// linear_forward on mma.sync: 16-bit operands come through a ring of shared memory by cp.async, are taken up by ldmatrix and
// multiplied into f32 registers. Four warps share a tile; one or two tiles are in work on each SM.
//
// What a SubLM leaves out costs nothing: rows, columns and depth of a tile are cut at 16, in what is loaded and in what is
// multiplied, and a tile cut to half or less of its rows or columns is shared out anew among the warps.
#include <array>
#include <atomic>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/for_dtype.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kStep = 16;   // depth of one mma, and the unit of all that is left out
constexpr int kChunk = 8;   // elements of a 16-byte copy

struct MmaConfig {
  int block_m = 0;
  int block_n = 0;
  int block_k = 0;
  int num_stages = 0;
  int least_columns = 0;  // tiles may be cut down to so many columns where there are too few for all SMs
};

// Throughput. A warp's 64 x 64 elements take 128 registers, so two blocks are all that an SM holds. For 16 of depth the tile
// reads 16 KB and writes 8 KB of shared memory: 192 clocks beside the 256 that sm_80's tensor cores take for the products
// (1024 each clock); tiles of 64 x 32 for each of eight warps would need 256. Three stages of 16 KB: two blocks fit in the
// 100 KB of compute capability 8.6 and 8.9 and ask for no more than the 48 KB that need no permission, and the two stages
// ahead are 1000 clocks of work, more than L2's latency.
struct Wide {
  static constexpr MmaConfig kConfig = {.block_m = 128, .block_n = 128, .block_k = 32, .num_stages = 3, .least_columns = 128};
};
// Few rows: more and smaller tiles, so that all SMs stream weights. With 64 x 32 elements the four stages ahead are 48 KB on
// their way to each SM, about what 48 bytes each clock and 1000 clocks from DRAM ask for. Two blocks fit on an SM of
// compute capability 8.0 and 9.0.
struct Narrow {
  static constexpr MmaConfig kConfig = {.block_m = 64, .block_n = 64, .block_k = 64, .num_stages = 5, .least_columns = 16};
};
constexpr int kBlocksPerSm = 2;

struct MmaArgs {
  Epilogue epilogue = Epilogue::kBias;
  int num_sms = 1;
  const void* weight = nullptr;  // [rows, ldw]
  const float* bias = nullptr;   // [N]
  const void* x = nullptr;       // [T, ldx]
  void* y = nullptr;             // [T, ldy]
  int64_t ldw = 0;
  int64_t ldx = 0;
  int64_t ldy = 0;
  const LinearStep* step = nullptr;
  const LinearGroup* groups = nullptr;
  const int32_t* row_blocks = nullptr;
};

// The part of a tile that a warp multiplies.
struct WarpPart {
  int row = 0;       // within the tile
  int column = 0;
  int m_pieces = 0;  // of 16 rows of which at least one is there
  int n_pieces = 0;  // of 16 columns
};

// Rows of a matrix in shared memory, kChunks copies of 16 bytes each. A chunk's place is exchanged with the row's number so
// that the same chunk of 8 rows in a row, which is what ldmatrix reads, lies in 8 different groups of banks; and so that
// adding an even number to a chunk is the exclusive or with 32 times its half, as long as it carries into no higher chunk.
template <int kChunks>
ELASTICLM_DEVICE uint32_t swizzled(int row, int chunk) {
  static_assert(kChunks == 4 || kChunks % 8 == 0);
  const int mask = kChunks == 4 ? row / 2 % 4 : row % 8;
  return static_cast<uint32_t>((row * kChunks + (chunk ^ mask)) * 16);
}

template <typename T, WeightRows kRows, typename Tiles>
struct MmaBlock {
  static constexpr MmaConfig kConfig = Tiles::kConfig;
  static constexpr int kStageSteps = kConfig.block_k / kStep;
  static constexpr int kDepthChunks = kConfig.block_k / kChunk;  // of a row of x, and of a weight row for a column
  static constexpr int kWeightChunks = kRows == WeightRows::kColumns ? kDepthChunks : kConfig.block_n / kChunk;
  static constexpr int kWeightRows = kRows == WeightRows::kColumns ? kConfig.block_n : kConfig.block_k;
  static constexpr int kXBytes = kConfig.block_m * kDepthChunks * 16;
  static constexpr int kStageBytes = kXBytes + kWeightRows * kWeightChunks * 16;
  static constexpr size_t kSharedBytes = static_cast<size_t>(kConfig.num_stages) * kStageBytes;
  // Rows that all threads together copy a chunk of at once.
  static constexpr int kXPassRows = kThreads / kDepthChunks;
  static constexpr int kWeightPassRows = kThreads / kWeightChunks;
  static constexpr int kXPasses = kConfig.block_m / kXPassRows;
  static constexpr int kWeightPasses = kWeightRows / kWeightPassRows;
  static_assert(kXPassRows % 8 == 0 && kWeightPassRows % 8 == 0, "a pass keeps the swizzle of the one before");
  static_assert(kXBytes % 1024 == 0 && kStageBytes % 1024 == 0, "stages keep the low bits of the swizzle free");
  static constexpr int kMPieces = kConfig.block_m / 2 / 16;
  static constexpr int kNPieces = kConfig.block_n / 2 / 16;

  // Half of a tile's rows and columns for each warp; where half or more of one of them is missing, quarters of the other.
  static ELASTICLM_DEVICE WarpPart warp_part(const LinearTile& tile) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const bool all_rows = tile.num_rows > kConfig.block_m / 2;
    const bool all_columns = tile.num_columns > kConfig.block_n / 2;
    const int row_warps = all_rows == all_columns ? 2 : all_rows ? 4 : 1;
    const int column_warps = kWarps / row_warps;
    const int rows = (all_rows ? kConfig.block_m : kConfig.block_m / 2) / row_warps;
    const int columns = (all_columns ? kConfig.block_n : kConfig.block_n / 2) / column_warps;
    WarpPart part;
    part.row = warp / column_warps * rows;
    part.column = warp % column_warps * columns;
    part.m_pieces = min(max(parts_of(tile.num_rows - part.row, 16), 0), rows / 16);
    part.n_pieces = min(max((tile.num_columns - part.column) / 16, 0), columns / 16);
    return part;
  }

  // --- from global to shared memory ----------------------------------------------------------------------------------

  // What a thread copies of a tile: a chunk of every pass.
  struct Loader {
    const T* x = nullptr;       // this thread's chunk of the tile's x in pass 0
    const T* weight = nullptr;  // its chunk of stored row 0
    uint32_t x_shared = 0;      // where they go, within a stage
    uint32_t weight_shared = 0;
    LinearGroup group;
    int num_rows = 0;
    int num_columns = 0;
    // Elements from stored row 0 to this thread's row of each pass (kColumns), or to the stored rows of each step of depth of
    // the stage that comes next (kDepth).
    uint32_t weight_offsets[kRows == WeightRows::kColumns ? kWeightPasses : kStageSteps] = {};
  };

  static ELASTICLM_DEVICE int x_row() { return static_cast<int>(threadIdx.x) / kDepthChunks; }
  static ELASTICLM_DEVICE int x_chunk() { return static_cast<int>(threadIdx.x) % kDepthChunks; }
  static ELASTICLM_DEVICE int weight_row() { return static_cast<int>(threadIdx.x) / kWeightChunks; }
  static ELASTICLM_DEVICE int weight_chunk() { return static_cast<int>(threadIdx.x) % kWeightChunks; }

  static ELASTICLM_DEVICE Loader make_loader(const MmaArgs& args, const LinearTile& tile) {
    Loader loader;
    loader.x = static_cast<const T*>(args.x) + (tile.row_begin + x_row()) * args.ldx + x_chunk() * kChunk;
    loader.x_shared = swizzled<kDepthChunks>(x_row(), x_chunk());
    loader.weight_shared = kXBytes + swizzled<kWeightChunks>(weight_row(), weight_chunk());
    loader.num_rows = tile.num_rows;
    loader.num_columns = tile.num_columns;
    loader.group = tile.group;
    loader.weight = static_cast<const T*>(args.weight) + weight_chunk() * kChunk;
    if constexpr (kRows == WeightRows::kColumns) {
#pragma unroll
      for (int pass = 0; pass < kWeightPasses; ++pass) {
        const int column = weight_row() + pass * kWeightPassRows;
        if (column >= tile.num_columns) continue;
        const int row = stored_row(tile.group, args.row_blocks, (tile.column_begin + column) / kRowBlock);
        loader.weight_offsets[pass] = static_cast<uint32_t>((row + column % kRowBlock) * args.ldw);
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
      if (k + step * kStep >= loader.group.depth) break;
      loader.weight_offsets[step] =
          static_cast<uint32_t>(stored_row(loader.group, args.row_blocks, k / kStep + step));
    }
  }

  // Depth k up to k + block_k of the tile's rows. Pieces without a row are not copied, rows that are not there are zeros.
  template <bool kFull>
  static ELASTICLM_DEVICE void load_x(const MmaArgs& args, const Loader& loader, int k, uint32_t stage) {
    if (k + x_chunk() * kChunk >= loader.group.depth) return;
#pragma unroll
    for (int pass = 0; pass < kXPasses; ++pass) {
      const int row = x_row() + pass * kXPassRows;
      if (!kFull && row >= parts_of(loader.num_rows, 16) * 16) continue;
      ptx::cp_async_16(stage + loader.x_shared + pass * kXPassRows * kDepthChunks * 16,
                       loader.x + k + pass * kXPassRows * args.ldx, row < loader.num_rows);
    }
  }

  template <bool kFull>
  static ELASTICLM_DEVICE void load_weight(const MmaArgs& args, Loader& loader, int k, uint32_t stage) {
    const uint32_t shared = stage + loader.weight_shared;
    if constexpr (kRows == WeightRows::kColumns) {
      if (k + weight_chunk() * kChunk >= loader.group.depth) return;
#pragma unroll
      for (int pass = 0; pass < kWeightPasses; ++pass) {
        if (!kFull && weight_row() + pass * kWeightPassRows >= loader.num_columns) continue;
        ptx::cp_async_16(shared + pass * kWeightPassRows * kWeightChunks * 16,
                         loader.weight + loader.weight_offsets[pass] + k, true);
      }
    } else {
      if (kFull || weight_chunk() * kChunk < loader.num_columns) {
#pragma unroll
        for (int pass = 0; pass < kWeightPasses; ++pass) {
          constexpr int kPassRows = kWeightPassRows;
          const int row = weight_row() + pass * kPassRows;
          if (k + row >= loader.group.depth) continue;
          const uint32_t stored = loader.weight_offsets[pass * kPassRows / kStep] + row % kStep;
          ptx::cp_async_16(shared + pass * kPassRows * kWeightChunks * 16, loader.weight + stored * args.ldw, true);
        }
      }
      find_depth_rows(args, k + kConfig.block_k, loader);
    }
  }

  // --- from shared memory to registers -------------------------------------------------------------------------------

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
      place.weight = kXBytes + swizzled<kWeightChunks>(lane % 16, part.column / kChunk + lane / 16);
    }
    return place;
  }

  template <bool kFull>
  static ELASTICLM_DEVICE void load_fragments(const WarpPart& part, const FragmentPlace& place, uint32_t stage, int step,
                                              Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < kMPieces; ++i) {
      if (!kFull && i >= part.m_pieces) break;
      ptx::ldmatrix_x4(fragments.x[i], ((stage + place.x) ^ (step * 32)) + i * 16 * kDepthChunks * 16);
    }
#pragma unroll
    for (int j = 0; j < kNPieces; ++j) {
      if (!kFull && j >= part.n_pieces) break;
      if constexpr (kRows == WeightRows::kColumns) {
        ptx::ldmatrix_x4(fragments.weight[j], ((stage + place.weight) ^ (step * 32)) + j * 16 * kDepthChunks * 16);
      } else {
        ptx::ldmatrix_x4_trans(fragments.weight[j],
                               ((stage + place.weight) ^ (j * 32)) + step * kStep * kWeightChunks * 16);
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

  // The products of a tile whose first num_stages - 1 stages are on their way. When it returns, no copy is under way and no
  // warp reads the ring any more. kFull: every warp has all its pieces.
  template <bool kFull>
  static ELASTICLM_DEVICE void multiply_tile(const MmaArgs& args, const WarpPart& part, Loader& loader, Sums& sums) {
    const uint32_t ring = ptx::shared_address(shared_memory());
    const FragmentPlace place = fragment_place(part);
    const int num_steps = loader.group.depth / kStep;
    Fragments fragments[2];
    uint32_t read = ring;
    uint32_t write = ring + (kConfig.num_stages - 1) * kStageBytes;
    ptx::cp_async_wait<kConfig.num_stages - 2>();
    __syncthreads();
    if (num_steps > 0) load_fragments<kFull>(part, place, read, 0, fragments[0]);
    for (int stage_step = 0; stage_step < num_steps; stage_step += kStageSteps) {
      const int k = stage_step * kStep + (kConfig.num_stages - 1) * kConfig.block_k;
      if (k < loader.group.depth) {
        load_weight<kFull>(args, loader, k, write);
        load_x<kFull>(args, loader, k, write);
      }
      ptx::cp_async_commit();
      write = read;  // the stage that this round reads is the next to be overwritten
      read = read == ring + (kConfig.num_stages - 1) * kStageBytes ? ring : read + kStageBytes;
#pragma unroll
      for (int step = 0; step < kStageSteps; ++step) {
        if (step == kStageSteps - 1) {
          ptx::cp_async_wait<kConfig.num_stages - 2>();
          __syncthreads();
        }
        if (stage_step + step + 1 < num_steps) {
          const bool crosses = step == kStageSteps - 1;
          load_fragments<kFull>(part, place, crosses ? read : write, crosses ? 0 : step + 1,
                                fragments[(step + 1) % 2]);
        }
        if (stage_step + step < num_steps) multiply<kFull>(part, fragments[step % 2], sums);
      }
    }
  }

  // --- from registers to y ---------------------------------------------------------------------------------------------

  // 8 rows of a warp's sums lie in shared memory between two layouts: the mma's, and 8 neighbouring columns for each lane, so
  // that whole lines of y are read and written. Rows are 8 banks apart for the pairs that are written, and the later 32
  // columns 4 banks for the quads that are read.
  static constexpr int kPartColumns = kConfig.block_n / 2;
  static constexpr int kStagingPitch = kPartColumns + 8;
  static constexpr int kStagingFloats = 8 * kStagingPitch;  // of a warp
  static ELASTICLM_DEVICE int staged(int row, int column) { return row * kStagingPitch + column + column / 32 * 4; }

  // Rows 8 half up to 8 half + 7 of a piece.
  static ELASTICLM_DEVICE void stage_rows(const float (&sums)[2 * kNPieces][4], int half, float* staging) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
#pragma unroll
    for (int j = 0; j < 2 * kNPieces; ++j) {
      float* const pair = staging + staged(lane / 4, lane % 4 * 2) + staged(0, j * 8);
      *reinterpret_cast<float2*>(pair) = {sums[j][2 * half], sums[j][2 * half + 1]};
    }
  }

  static ELASTICLM_DEVICE void load_bias(const MmaArgs& args, const LinearTile& tile, int column, float (&bias)[8]) {
    int n = tile.column_begin + column;
    if (kRows == WeightRows::kColumns) n = stored_row(tile.group, args.row_blocks, n / kRowBlock) + n % kRowBlock;
#pragma unroll
    for (int i = 0; i < 8; ++i) bias[i] = args.bias[n + i];
  }

  // A lane's place in a warp's part of a tile: 8 columns of every kPassRows-th row.
  struct StoreLane {
    int row = 0;     // within the tile, in pass 0
    int column = 0;  // within the part
    int num_rows = 0;  // of the tile, or 0 where the part has no such columns
    T* y = nullptr;    // at (row, column)
    uint32_t residual = 0;  // in shared memory, where this lane's first 16 bytes go
  };
  static constexpr int kRowLanes = kPartColumns / 8;
  static constexpr int kPassRows = kWarpThreads / kRowLanes;
  static constexpr int kPasses = kConfig.block_m / 2 / kPassRows;
  static constexpr int kStagingBytes = kWarps * kStagingFloats * 4;
  static constexpr int kResidualBytes = kPasses * kWarpThreads * 16;  // of a warp
  static_assert(kStagingBytes + kWarps * kResidualBytes <= static_cast<int>(kSharedBytes));

  static ELASTICLM_DEVICE StoreLane store_lane(const MmaArgs& args, const LinearTile& tile, const WarpPart& part) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    StoreLane store;
    store.row = part.row + lane / kRowLanes;
    store.column = lane % kRowLanes * 8;
    store.num_rows = store.column < part.n_pieces * 16 ? tile.num_rows : 0;
    store.y = static_cast<T*>(args.y) + (tile.row_begin + store.row) * args.ldy + tile.column_begin + part.column +
              store.column;
    store.residual =
        ptx::shared_address(shared_memory()) + kStagingBytes + warp * kResidualBytes + lane * 16;
    return store;
  }

  // All of the part's residual at once, into the ring that nobody needs any more: its way from L2 is waited for once.
  static ELASTICLM_DEVICE void load_residual(const MmaArgs& args, const StoreLane& store) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if (store.row + pass * kPassRows >= store.num_rows) break;
      ptx::cp_async_16(store.residual + pass * kWarpThreads * 16, store.y + pass * kPassRows * args.ldy, true);
    }
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
  }

  static ELASTICLM_DEVICE void store_tile(const MmaArgs& args, const LinearTile& tile, const WarpPart& part,
                                          const Sums& sums) {
    if (part.n_pieces == 0) return;
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    float* const staging = reinterpret_cast<float*>(shared_memory()) + warp * kStagingFloats;
    const unsigned char* residual = shared_memory() + kStagingBytes + warp * kResidualBytes + lane * 16;
    StoreLane store = store_lane(args, tile, part);
    const EpilogueRun run = {args.epilogue,
                             tile.group.num_kept_columns - tile.column_begin - part.column - store.column};
    float bias[8] = {};
    if (store.num_rows > 0) load_bias(args, tile, part.column + store.column, bias);
    if (args.epilogue == Epilogue::kBiasResidual) load_residual(args, store);
#pragma unroll 1  // unrolled, the epilogue's code would not fit in an instruction cache
    for (int i = 0; i < 2 * part.m_pieces; ++i) {
#pragma unroll
      for (int piece = 0; piece < 2 * kMPieces; ++piece) {
        if (piece == i) stage_rows(sums[piece / 2], piece % 2, staging);  // registers have no index
      }
      __syncwarp();
#pragma unroll 1
      for (int row = lane / kRowLanes; row < 8; row += kPassRows) {
        if (store.row < store.num_rows) {
          const float4 low = *reinterpret_cast<const float4*>(staging + staged(row, store.column));
          const float4 high = *reinterpret_cast<const float4*>(staging + staged(row, store.column + 4));
          const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
          store_run<T>(run, values, bias, *reinterpret_cast<const uint4*>(residual), store.y);
        }
        store.row += kPassRows;
        store.y += kPassRows * args.ldy;
        residual += kWarpThreads * 16;
      }
      __syncwarp();
    }
  }
};

template <typename T, WeightRows kRows, typename Tiles>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm) linear_mma_kernel(const __grid_constant__ MmaArgs args) {
  using Block = MmaBlock<T, kRows, Tiles>;
  constexpr MmaConfig kConfig = Tiles::kConfig;
  const uint32_t ring = ptx::shared_address(shared_memory());
  // Records and weights were there before the forward's first kernel, so they are read before the wait; x and y are not.
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
    Block::store_tile(args, tile, Block::warp_part(tile), sums);
    __syncthreads();  // the staged sums lie where the next tile's stages go
  }
  // A kernel may only end after the one before it: the next one waits for this one alone.
  if (first_idx >= num_tiles) ptx::grid_dependency_wait();
}

// Blocks of a kernel that an SM runs at once, after asking for the kernel's shared memory. Found once for each device.
template <auto kKernel>
int resident_blocks(size_t shared_bytes) {
  static std::array<std::atomic<int>, 64> known = {};
  int device = 0;
  check(cudaGetDevice(&device), "to find the current device");
  std::atomic<int>* const slot = device < static_cast<int>(known.size()) ? &known[device] : nullptr;
  int blocks = slot != nullptr ? slot->load() : 0;
  if (blocks == 0) {
    allow_shared_memory(kKernel, shared_bytes);
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kKernel, kThreads, shared_bytes),
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
                               .ldw = args.weight.ld,
                               .ldx = args.x.ld,
                               .ldy = args.y.ld,
                               .step = args.step,
                               .groups = args.groups,
                               .row_blocks = args.row_blocks};
  launch(kKernel,
         {.grid = dim3(static_cast<unsigned>(std::max<int64_t>(std::min(tiles, resident), 1))),
          .block = dim3(kThreads),
          .shared_bytes = kSharedBytes,
          .stream = context.stream,
          .programmatic = context.programmatic},
         kernel_args);
}

// A wide tile holds the products of four narrow ones and takes about the time of three: the narrow one's 16 of depth are 64
// clocks of products and 96 of shared memory, the wide one's 256 and 192. The time of a launch is that of its rounds over
// all SMs.
bool wide_is_faster(const LinearArgs& args, const LaunchContext& context) {
  const auto rounds = [&](const MmaConfig& config) {
    const int64_t tiles = most_tiles(args, context, {config.block_m, config.block_n});
    return (tiles + context.num_sms - 1) / context.num_sms;
  };
  return 3 * rounds(Wide::kConfig) <= rounds(Narrow::kConfig);
}

template <typename T, WeightRows kRows>
void launch_rows(const LinearArgs& args, const LaunchContext& context) {
  if (wide_is_faster(args, context)) {
    launch_mma<T, kRows, Wide>(args, context);
  } else {
    launch_mma<T, kRows, Narrow>(args, context);
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
