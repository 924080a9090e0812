// The epilogue of linear_mma.cu: a warp's sums from registers to y.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/linear_mma_tile.cuh"

namespace elasticlm::cuda {

template <typename T, WeightRows kRows, typename Tiles>
struct MmaStore {
  using Block = MmaBlock<T, kRows, Tiles>;
  static constexpr MmaConfig kConfig = Tiles::kConfig;
  static constexpr int kMPieces = Block::kMPieces;
  static constexpr int kNPieces = Block::kNPieces;

  // 8 rows of a warp's sums lie in shared memory between two layouts: the mma's, and 8 neighbouring columns
  // for each lane, so that whole lines of y are read and written. Rows are 8 banks apart for the pairs that
  // are written, and the later 32 columns 4 banks for the quads that are read.
  static constexpr int kPartColumns = kConfig.block_n / 2;
  static constexpr int kStagingPitch = kPartColumns + 8;
  static constexpr int kStagingFloats = 8 * kStagingPitch;  // of a warp
  static ELASTICLM_DEVICE int staged(int row, int column) {
    return row * kStagingPitch + column + column / 32 * 4;
  }

  // Rows 8 half up to 8 half + 7 of a piece.
  static ELASTICLM_DEVICE void stage_rows(const float (&sums)[2 * kNPieces][4], int half, float* staging) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
#pragma unroll
    for (int j = 0; j < 2 * kNPieces; ++j) {
      float* const pair = staging + staged(lane / 4, lane % 4 * 2) + staged(0, j * 8);
      *reinterpret_cast<float2*>(pair) = {sums[j][2 * half], sums[j][2 * half + 1]};
    }
  }

  static ELASTICLM_DEVICE void load_bias(const MmaArgs& args, const LinearTile& tile, int column,
                                         float (&bias)[8]) {
    int n = tile.column_begin + column;
    if (kRows == WeightRows::kColumns)
      n = stored_row(tile.group, args.row_blocks, n / kRowBlock) + n % kRowBlock;
#pragma unroll
    for (int i = 0; i < 8; ++i) bias[i] = args.bias[n + i];
  }

  // A lane's place in a warp's part of a tile: 8 columns of every kPassRows-th row.
  struct StoreLane {
    int row = 0;            // within the tile, in pass 0
    int column = 0;         // within the part
    int num_rows = 0;       // of the tile, or 0 where the part has no such columns
    T* y = nullptr;         // at (row, column)
    uint32_t residual = 0;  // in shared memory, where this lane's first 16 bytes go
  };
  static constexpr int kRowLanes = kPartColumns / 8;
  static constexpr int kPassRows = kWarpThreads / kRowLanes;
  static constexpr int kPasses = kConfig.block_m / 2 / kPassRows;
  static constexpr int kStagingBytes = kMmaWarps * kStagingFloats * 4;
  static constexpr int kResidualBytes = kPasses * kWarpThreads * 16;  // of a warp
  static_assert(kStagingBytes + kMmaWarps * kResidualBytes <= static_cast<int>(Block::kSharedBytes));

  static ELASTICLM_DEVICE StoreLane store_lane(const MmaArgs& args, const LinearTile& tile,
                                               const WarpPart& part) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    StoreLane store;
    store.row = part.row + lane / kRowLanes;
    store.column = lane % kRowLanes * 8;
    store.num_rows = store.column < part.n_pieces * 16 ? tile.num_rows : 0;
    store.y = static_cast<T*>(args.y) + int64_t{tile.row_begin + store.row} * args.ldy + tile.column_begin +
              part.column + store.column;
    store.residual = ptx::shared_address(shared_memory()) + kStagingBytes + warp * kResidualBytes + lane * 16;
    return store;
  }

  // All of the part's residual at once, into the ring that nobody needs any more: its way from L2 is waited
  // for once.
  static ELASTICLM_DEVICE void load_residual(const MmaArgs& args, const StoreLane& store) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if (store.row + pass * kPassRows >= store.num_rows) break;
      ptx::cp_async_16(store.residual + pass * kWarpThreads * 16, store.y + pass * kPassRows * args.ldy,
                       true);
    }
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
  }

  static ELASTICLM_DEVICE void store_tile(const MmaArgs& args, const LinearTile& tile, const WarpPart& part,
                                          const typename Block::Sums& sums) {
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

}  // namespace elasticlm::cuda
