// The two warps of linear_wgmma.cu that work ahead of the consumers: one loads, one takes notes.
#pragma once

#include "kernels/cuda/linear_wgmma_stages.cuh"

namespace elasticlm::cuda::wgmma {

// A stage's boxes stand to lanes: lane l < 16 has the l-th 16 stored rows by 64 elements of the weight's
// panels, or, where four such lanes meet 64 neighbouring rows, the first of the four has a whole panel; lanes
// 16 and 17 have the panels of x.
template <ptx::Major kMajor>
struct Loader {
  const LinearArgs& args;
  const StageLayout& layout;
  LinearTile tile;
  int lane;
  int num_kept;
  int num_steps;
  int block_row;  // first stored row of this lane's block (columns: of the tile; depth: of the stage)
  bool has_block;
  bool in_panel;

  ELASTICLM_DEVICE Loader(const LinearArgs& args, const StageLayout& layout, const LinearTile& tile)
      : args(args),
        layout(layout),
        tile(tile),
        lane(static_cast<int>(threadIdx.x) % kWarpThreads),
        num_kept(kept_columns(tile)),
        num_steps(depth_steps(tile)) {
    if constexpr (kMajor == ptx::Major::kK) {
      find_block(lane < parts_of(num_kept, kRowBlock), tile.column_begin / kRowBlock + lane);
    }
  }

  ELASTICLM_DEVICE int num_stages() const { return parts_of(num_steps, kStepsPerStage); }
  ELASTICLM_DEVICE int steps_of(int k) const { return min(kStepsPerStage, num_steps - k * kStepsPerStage); }

  // All lanes together.
  ELASTICLM_DEVICE void find_block(bool has, int block_idx) {
    has_block = has;
    block_row = has ? stored_row(tile.group, args.row_blocks, block_idx) : -1;
    const int panel_row = __shfl_sync(kFullWarp, block_row, lane & ~3);
    int follows = has && block_row == panel_row + lane % 4 * kRowBlock ? 1 : 0;
    follows &= __shfl_xor_sync(kFullWarp, follows, 1);
    follows &= __shfl_xor_sync(kFullWarp, follows, 2);
    in_panel = follows != 0;
  }

  ELASTICLM_DEVICE void expect(int k, uint32_t barrier) const {
    const int x_panels = parts_of(tile.num_rows, kPanelRows);
    const int blocks = kMajor == ptx::Major::kK ? parts_of(num_kept, kRowBlock)
                                                : parts_of(num_kept, kBoxColumns) * steps_of(k);
    if (lane == 0) ptx::mbarrier_arrive_expect(barrier, x_panels * kPanelBytes + blocks * kBlockBytes);
    __syncwarp();
  }

  ELASTICLM_DEVICE void load_weight(int k, uint32_t stage, uint32_t barrier) {
    int column = k * kBoxColumns;
    if constexpr (kMajor == ptx::Major::kN) {
      const int panel = lane / 4;
      find_block(panel < parts_of(num_kept, kBoxColumns) && lane % 4 < steps_of(k),
                 k * kStepsPerStage + lane % 4);
      column = tile.column_begin + panel * kBoxColumns;
    }
    if (has_block && !(in_panel && lane % 4 != 0)) {
      ptx::tma_load(stage + layout.weight_offset + lane * kBlockBytes,
                    in_panel ? &args.weight.panel_map : &args.weight.block_map, column, block_row, barrier);
    }
  }

  ELASTICLM_DEVICE void load_x(int k, uint32_t stage, uint32_t barrier) const {
    const int panel = lane - 16;
    if (panel < 0 || panel >= parts_of(tile.num_rows, kPanelRows)) return;
    ptx::tma_load(stage + panel * kPanelBytes, &args.x.panel_map, k * kBoxColumns,
                  tile.row_begin + panel * kPanelRows, barrier);
  }
};

template <ptx::Major kMajor>
ELASTICLM_DEVICE void produce(const LinearArgs& args, TileShape shape) {
  const StageLayout layout(shape);
  const uint32_t full = ptx::shared_address(control().full);
  const uint32_t empty = ptx::shared_address(control().empty);
  RingPosition position;
  bool waited = false;  // for the kernel before
  LinearTile tile;
  for (int tile_idx = static_cast<int>(blockIdx.x); find_tile(args.step, args.groups, shape, tile_idx, tile);
       tile_idx += static_cast<int>(gridDim.x)) {
    Loader<kMajor> loader(args, layout, tile);
    const int num_stages = loader.num_stages();
    int k = 0;
    if (!waited) {  // weights do not come from a kernel: as many as fit begin before the wait
      const int ahead = min(num_stages, layout.num_stages);
      for (int i = 0; i < ahead; ++i) {
        loader.expect(i, full + 8 * i);
        loader.load_weight(i, layout.stage(i), full + 8 * i);
      }
      ptx::grid_dependency_wait();
      waited = true;
      for (; k < ahead; ++k) {
        loader.load_x(k, layout.stage(k), full + 8 * k);
        position.advance(layout.num_stages);
      }
    }
    for (; k < num_stages; ++k) {
      const uint32_t barrier = full + 8 * position.slot;
      ptx::mbarrier_wait(empty + 8 * position.slot, position.parity ^ 1);
      loader.expect(k, barrier);
      loader.load_weight(k, layout.stage(position.slot), barrier);
      loader.load_x(k, layout.stage(position.slot), barrier);
      position.advance(layout.num_stages);
    }
  }
  ptx::grid_dependency_launch();
}

template <ptx::Major kMajor>
ELASTICLM_DEVICE void write_note(const LinearArgs& args, const LinearTile& tile, int lead, TileNote& note) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int num_kept = kept_columns(tile);
  if (lane == 0) {
    note.row_begin = tile.row_begin;
    note.num_rows = tile.num_rows;
    note.column_begin = tile.column_begin;
    note.num_columns = tile.num_columns;
    note.num_kept = num_kept;
    note.num_steps = depth_steps(tile);
    note.lead = lead;
  }
  for (int i = lane; i < num_kept; i += kWarpThreads) {
    const int column = tile.column_begin + i;
    if constexpr (kMajor == ptx::Major::kK) {
      note.bias[i] =
          args.bias[stored_row(tile.group, args.row_blocks, column / kRowBlock) + column % kRowBlock];
    } else {
      note.bias[i] = args.bias[column];
    }
  }
}

template <ptx::Major kMajor>
ELASTICLM_DEVICE void take_notes(const LinearArgs& args, TileShape shape) {
  RingPosition position;
  LinearTile tile;
  int lead = 0;
  for (int tile_idx = static_cast<int>(blockIdx.x);; tile_idx += static_cast<int>(gridDim.x)) {
    const bool found = find_tile(args.step, args.groups, shape, tile_idx, tile);
    TileNote& note = control().notes[position.slot];
    ptx::mbarrier_wait(ptx::shared_address(&control().note_empty[position.slot]), position.parity ^ 1);
    if (found) {
      // Tiles of one consumer go to both by turns, so that one stores while the other multiplies.
      lead = tile.num_rows <= kPanelRows ? lead ^ 1 : 0;
      write_note<kMajor>(args, tile, lead, note);
    } else if (threadIdx.x % kWarpThreads == 0) {
      note.num_rows = 0;
    }
    ptx::mbarrier_arrive(ptx::shared_address(&control().note_full[position.slot]));
    if (!found) return;
    position.advance(kNotes);
  }
}

}  // namespace elasticlm::cuda::wgmma
