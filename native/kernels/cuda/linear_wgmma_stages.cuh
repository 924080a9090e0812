// What the warps of linear_wgmma.cu share: the ring of stages, the notes on tiles, and the choice of the
// tile's shape.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/matrix_descriptor.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda::wgmma {

inline constexpr int kConsumers = 2;  // warpgroups that multiply, 64 rows of the tile each
inline constexpr int kThreads = (1 + kConsumers) * kWarpgroupThreads;
inline constexpr int kConsumerWarps = kConsumers * kWarpgroupThreads / kWarpThreads;
inline constexpr int kMaxColumns = 256;
inline constexpr int kStepsPerStage = kBoxColumns / kMmaDepth;
// A launch gives 384 threads 168 registers each, and what one warpgroup takes another must give: 56 + 2 * 224
// = 3 * 168. A consumer holds 128 accumulators and, beside them, 48 words of residual.
inline constexpr int kProducerRegisters = 56;
inline constexpr int kConsumerRegisters = 224;

// 227 KB is what a block may have. 224 KB for stages: 4 of 128 x 256 tiles, 5 of 128 x 192, 7 of 128 x 128,
// 14 of 64 x 64.
inline constexpr int kStageMemory = 224 * 1024;
inline constexpr int kMaxStages = 14;
inline constexpr int kNotes = 2;  // one tile in work, one ahead

// The second consumer begins this many stages after the first and stays behind, so that one multiplies while
// the other is in its epilogue. More would leave the loads too few stages to run ahead.
inline constexpr int kConsumerLag = 2;

// What consumers must know of a tile.
struct TileNote {
  alignas(16) float bias[kMaxColumns];
  int row_begin;
  int num_rows;  // 0: there are no more tiles
  int column_begin;
  int num_columns;
  int num_kept;   // columns that are computed; the others become zeros
  int num_steps;  // k16 steps
  int lead;       // the consumer that has the first 64 rows
};

struct Control {
  TileNote notes[kNotes];
  uint64_t full[kMaxStages];
  uint64_t empty[kMaxStages];
  uint64_t note_full[kNotes];
  uint64_t note_empty[kNotes];
};
inline constexpr int kSharedBytes = kStageMemory + static_cast<int>(sizeof(Control));
static_assert(kSharedBytes <= 227 * 1024);

ELASTICLM_DEVICE Control& control() { return *reinterpret_cast<Control*>(shared_memory() + kStageMemory); }

// The slots of a ring and the parity of their present use.
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;

  ELASTICLM_DEVICE void advance(int num_slots) {
    if (++slot == num_slots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// A stage holds 64 of depth: the rows of x in one or two panels, then weights for the columns of y in one to
// four.
struct StageLayout {
  uint32_t begin = 0;
  int bytes = 0;
  int weight_offset = 0;
  int num_stages = 0;

  ELASTICLM_DEVICE explicit StageLayout(TileShape shape)
      : begin(ptx::shared_address(shared_memory())),
        bytes((shape.rows + shape.columns) * kLineBytes),
        weight_offset(shape.rows * kLineBytes),
        num_stages(min(kMaxStages, kStageMemory / bytes)) {}
  ELASTICLM_DEVICE uint32_t stage(int slot) const { return begin + slot * bytes; }
};

ELASTICLM_DEVICE int kept_columns(const LinearTile& tile) {
  return max(0, min(tile.group.num_kept_columns - tile.column_begin, tile.num_columns));
}
ELASTICLM_DEVICE int depth_steps(const LinearTile& tile) {
  return kept_columns(tile) > 0 ? tile.group.depth / kMmaDepth : 0;
}

// Cycles of a tile, by the model above.
ELASTICLM_DEVICE float tile_cycles(int rows, int columns, int depth) {
  const int consumers = parts_of(rows, kPanelRows);
  const float shared = static_cast<float>(consumers * (kPanelRows + columns) + rows + columns) / 4;
  const float loads = static_cast<float>(rows + columns) * 4 / 7;
  return static_cast<float>(depth / kMmaDepth) * fmaxf(shared, loads) + static_cast<float>(2 * columns + 400);
}

// The shapes to choose from, 128 x 256 to 64 x 64.
inline constexpr int kShapes = 8;
ELASTICLM_DEVICE TileShape shape_of(int idx) {
  return {idx >= kShapes / 2 ? 64 : 128, kMaxColumns - idx % (kShapes / 2) * kBoxColumns};
}

// The shape that ends the step first when blocks take tiles in turn: the work of all tiles, and as much as
// the longest tile in each place that the last wave leaves empty. Of equals the smallest, whose ring has more
// stages. All 32 lanes together: lane l looks at shape l % 8 of every fourth group from l / 8 on.
ELASTICLM_DEVICE TileShape choose_shape(const LinearStep* step, const LinearGroup* groups) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const TileShape shape = shape_of(lane % kShapes);
  float work = 0.0f;
  float longest = 0.0f;
  int tiles = 0;
  for (int i = lane / kShapes; i < step->num_groups; i += kWarpThreads / kShapes) {
    const LinearGroup group = groups[step->group_begin + i];
    const int row_tiles = parts_of(group.num_rows, shape.rows);
    const int rows = min(shape.rows, group.num_rows);
    const int wide_tiles = group.num_columns / shape.columns;
    const int rest = group.num_columns % shape.columns;
    const float rest_cycles = rest > 0 ? tile_cycles(rows, rest, group.depth) : 0.0f;
    const float wide_cycles = wide_tiles > 0 ? tile_cycles(rows, shape.columns, group.depth) : 0.0f;
    work += static_cast<float>(row_tiles) * (static_cast<float>(wide_tiles) * wide_cycles + rest_cycles);
    longest = fmaxf(longest, fmaxf(wide_cycles, rest_cycles));
    tiles += count_tiles(group, shape);
  }
  for (int distance = kShapes; distance < kWarpThreads; distance *= 2) {
    work += __shfl_xor_sync(kFullWarp, work, distance);
    longest = fmaxf(longest, __shfl_xor_sync(kFullWarp, longest, distance));
    tiles += __shfl_xor_sync(kFullWarp, tiles, distance);
  }
  const int grid = static_cast<int>(gridDim.x);
  float cycles = work + longest * static_cast<float>(parts_of(tiles, grid) * grid - tiles);
  int best = lane % kShapes;
  for (int distance = 1; distance < kShapes; distance *= 2) {
    const float other_cycles = __shfl_xor_sync(kFullWarp, cycles, distance);
    const int other = __shfl_xor_sync(kFullWarp, best, distance);
    if (other_cycles < cycles || (other_cycles == cycles && other > best)) {
      cycles = other_cycles;
      best = other;
    }
  }
  return shape_of(__shfl_sync(kFullWarp, best, 0));
}

}  // namespace elasticlm::cuda::wgmma
