// How the blocks of a persistent launch share out a linear step: the tiles of all its groups in one list, a
// tile never across two groups.
#pragma once

#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/records.h"

namespace elasticlm::cuda {

struct TileShape {
  int rows = 0;
  int columns = 0;
};

struct LinearTile {
  LinearGroup group;
  int row_begin = 0;     // of x and y
  int num_rows = 0;      // 1 up to the shape's
  int column_begin = 0;  // of y
  int num_columns = 0;   // a multiple of 16, up to the shape's
};

// The most tiles that any records within the context's bounds make up: each group may end in a part of a
// tile, and there are no more groups than sequences.
inline int64_t most_tiles(const LinearArgs& args, const LaunchContext& context, const TileShape& shape) {
  const int64_t columns = args.weight_rows == WeightRows::kColumns ? args.weight.rows : args.weight.columns;
  const int64_t row_tiles = context.max_rows / shape.rows + std::max<int64_t>(context.max_sequences, 1);
  return std::min(row_tiles, context.max_rows) * ((columns + shape.columns - 1) / shape.columns);
}

ELASTICLM_DEVICE int parts_of(int size, int part) { return (size + part - 1) / part; }

ELASTICLM_DEVICE int count_tiles(const LinearGroup& group, TileShape shape) {
  return parts_of(group.num_rows, shape.rows) * parts_of(group.num_columns, shape.columns);
}

// Where the 16 rows of a group's i-th kept block begin among the stored weight's rows.
ELASTICLM_DEVICE int stored_row(const LinearGroup& group, const int32_t* row_blocks, int i) {
  return (group.row_blocks == kPrefix ? i : row_blocks[group.row_blocks + i]) * kRowBlock;
}

// Blocks that run at the same time take neighbours in this order: down a band of 8 row tiles, then the next
// column. About 200 tiles at once are then 8 by 25, and x and weights come from L2 about evenly; whole rows
// or whole columns of tiles would read one of the two 25 times as often as the other.
ELASTICLM_DEVICE LinearTile tile_of(const LinearGroup& group, TileShape shape, int tile_idx) {
  constexpr int kBandTiles = 8;
  const int column_tiles = parts_of(group.num_columns, shape.columns);
  const int band_begin = tile_idx / (kBandTiles * column_tiles) * kBandTiles;
  const int band_tiles = min(kBandTiles, parts_of(group.num_rows, shape.rows) - band_begin);
  const int in_band = tile_idx - band_begin * column_tiles;
  const int row = (band_begin + in_band % band_tiles) * shape.rows;
  const int column = in_band / band_tiles * shape.columns;
  LinearTile tile;
  tile.group = group;
  tile.row_begin = group.row_begin + row;
  tile.num_rows = min(shape.rows, group.num_rows - row);
  tile.column_begin = column;
  tile.num_columns = min(shape.columns, group.num_columns - column);
  return tile;
}

// Tile `tile_idx` of the step's list; false when the list is shorter. All 32 lanes of a warp together, with
// the same arguments: each looks at one group, so that a batch of many structures costs no walk through them.
ELASTICLM_DEVICE bool find_tile(const LinearStep* step, const LinearGroup* groups, TileShape shape,
                                int tile_idx, LinearTile& tile) {
  const int num_groups = step->num_groups;
  groups += step->group_begin;
  if (num_groups == 1) {  // one level for the whole batch: the usual case, and the one where latency counts
    const LinearGroup group = groups[0];
    if (tile_idx >= count_tiles(group, shape)) return false;
    tile = tile_of(group, shape, tile_idx);
    return true;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  for (int first = 0; first < num_groups; first += kWarpThreads) {
    const int count = first + lane < num_groups ? count_tiles(groups[first + lane], shape) : 0;
    int end = count;  // tiles up to and with this lane's group
    for (int distance = 1; distance < kWarpThreads; distance *= 2) {
      const int before = __shfl_sync(kFullWarp, end, max(lane - distance, 0));
      if (lane >= distance) end += before;
    }
    const int total = __shfl_sync(kFullWarp, end, kWarpThreads - 1);
    if (tile_idx < total) {
      int group_idx = end <= tile_idx ? 1 : 0;
      for (int distance = 1; distance < kWarpThreads; distance *= 2) {
        group_idx += __shfl_xor_sync(kFullWarp, group_idx, distance);
      }
      const int begin = __shfl_sync(kFullWarp, end - count, group_idx);
      tile = tile_of(groups[first + group_idx], shape, tile_idx - begin);
      return true;
    }
    tile_idx -= total;
  }
  return false;
}

// The length of the step's list, also for all 32 lanes together.
ELASTICLM_DEVICE int count_step_tiles(const LinearStep* step, const LinearGroup* groups, TileShape shape) {
  const int num_groups = step->num_groups;
  groups += step->group_begin;
  if (num_groups == 1) return count_tiles(groups[0], shape);
  int count = 0;
  for (int i = static_cast<int>(threadIdx.x) % kWarpThreads; i < num_groups; i += kWarpThreads) {
    count += count_tiles(groups[i], shape);
  }
  for (int distance = 1; distance < kWarpThreads; distance *= 2) {
    count += __shfl_xor_sync(kFullWarp, count, distance);
  }
  return count;
}

}  // namespace elasticlm::cuda
