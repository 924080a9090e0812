// Which query tile and which head an item of an AttentionStep is. Items of a group go tile by tile, a tile's
// heads one after another: blocks that run at the same time then read neighbouring columns of the same rows,
// and the tiles of one long sequence, which read the same keys, are only as many items apart as there are
// heads.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.cuh"

namespace elasticlm::cuda {

// Exponentials are powers of 2.
inline constexpr float kLog2E = 1.44269504f;

struct AttentionItem {
  int32_t row_begin = 0;  // the sequence's first row
  int32_t num_rows = 0;   // S
  int32_t query_begin = 0;
  int32_t head = 0;  // slot among the kept heads
};

// `item` below the step's num_items.
ELASTICLM_DEVICE AttentionItem attention_item(const DeviceAttentionArgs& args, const AttentionStep& step,
                                              int32_t item) {
  // The last group that begins at or before the item: groups without items begin where the next one does.
  int32_t low = step.group_begin;
  int32_t high = step.group_begin + step.num_groups - 1;
  while (low < high) {
    const int32_t middle = low + (high - low + 1) / 2;
    if (args.groups[middle].item_begin <= item) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const AttentionGroup group = args.groups[low];
  const int32_t within = item - group.item_begin;
  const int32_t tile_idx = within / group.num_heads;
  const AttentionTile tile = args.tiles[group.tile_begin + tile_idx];
  return {.row_begin = tile.row_begin,
          .num_rows = tile.num_rows,
          .query_begin = tile.query_begin,
          .head = within - tile_idx * group.num_heads};
}

// The most items that records within the context's bounds can name: heads stand side by side in a row of qkv.
inline int64_t max_attention_items(const DeviceAttentionArgs& args, const LaunchContext& context) {
  return context.max_attention_tiles * (args.ldqkv / (3 * args.head_dim));
}

}  // namespace elasticlm::cuda
