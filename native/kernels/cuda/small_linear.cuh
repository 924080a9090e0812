// The linear steps of the small-request kernel: one item is 16 columns of y for all rows of one group, by one
// block of four warps. Depth goes by in chunks through rings of shared memory. Weights depend on nothing, so
// their ring is filled before the block knows that the rows are there.
#pragma once

#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {

inline constexpr int kSmallThreads = 128;
inline constexpr int kSmallWarps = kSmallThreads / kWarpThreads;
inline constexpr int kSmallRows = 64;
inline constexpr int kSmallPieces = kSmallRows / 16;
// Two k16 steps for each warp between two barriers of the block.
inline constexpr int kSmallChunkDepth = 128;
inline constexpr int kSmallChunkSteps = kSmallChunkDepth / 16 / kSmallWarps;
// Rows of [n, 128 k] stand 16 bytes apart modulo 128, so that ldmatrix meets no bank twice.
inline constexpr int kSmallChunkPitch = kSmallChunkDepth * 2 + 16;
// 11 chunks of weights on their way are 45 KB for each SM: at 132 SMs and 1 µs of latency enough for 5.9
// TB/s.
inline constexpr int kSmallWeightSlots = 12;
// [16 columns][128 k], or [128 k][16 columns] with the halves of a row exchanged where bit 2 of k is set
// (again no bank twice).
inline constexpr int kSmallWeightSlotBytes = kRowBlock * kSmallChunkPitch;
inline constexpr int kSmallDepthPitch = kRowBlock * 2;
static_assert(kSmallChunkDepth * kSmallDepthPitch <= kSmallWeightSlotBytes);
// Rows of up to 64 x 3072 elements pass by from L2: 4 chunks of 32 rows on their way are 32 KB, about half of
// what an SM can read in the time that one chunk takes.
inline constexpr int kSmallRowSlots = 5;

// One linear step.
template <typename T>
struct SmallLinear {
  const T* weight;    // stored rows, ld_weight elements each
  const float* bias;  // in stored order
  int32_t ld_weight;  // E
  const LinearStep* step;
  const LinearGroup* groups;
  const int32_t* row_blocks;
};

// Where a block keeps things.
struct SmallBuffers {
  uint32_t weights;  // kSmallWeightSlots slots
  // WeightRows::kColumns: all rows of the batch with their whole depth, row_pitch bytes apart.
  // WeightRows::kDepth: a ring of kSmallRowSlots slots of row_slot_bytes.
  uint32_t rows;
  int row_pitch;
  int row_slot_bytes;
  float* sums;  // [kSmallWarps, kSmallRows, 16], at small_sum_offset
};

// Columns 16 * column_block up to + 15 of y, for the rows of a group.
struct SmallItem {
  LinearGroup group;
  int32_t column_block = 0;
  bool valid = false;
};

template <typename T>
ELASTICLM_DEVICE SmallItem small_item(const SmallLinear<T>& linear, int item_idx) {
  const LinearStep step = *linear.step;
  int begin = 0;
  for (int g = 0; g < step.num_groups; ++g) {
    const LinearGroup group = linear.groups[step.group_begin + g];
    const int num_items = group.num_columns / kRowBlock;
    if (item_idx < begin + num_items) return {group, item_idx - begin, true};
    begin += num_items;
  }
  return {};
}

// What comes next into a ring: items of this block in order, chunks of each in order.
struct SmallCursor {
  int item_idx = 0;
  int chunk_idx = 0;
  int slot = 0;
  SmallItem item;
};

template <typename T>
ELASTICLM_DEVICE SmallCursor small_begin(const SmallLinear<T>& linear) {
  const int first = static_cast<int>(blockIdx.x);
  return {first, 0, 0, small_item(linear, first)};
}

template <typename T>
ELASTICLM_DEVICE void small_advance(const SmallLinear<T>& linear, int num_slots, SmallCursor& cursor) {
  cursor.slot = cursor.slot + 1 == num_slots ? 0 : cursor.slot + 1;
  cursor.chunk_idx += 1;
  if (cursor.chunk_idx * kSmallChunkDepth < cursor.item.group.depth) return;
  cursor.chunk_idx = 0;
  cursor.item_idx += static_cast<int>(gridDim.x);
  cursor.item = small_item(linear, cursor.item_idx);
}

// Starts to copy the cursor's chunk of weights; nothing past the last item.
template <typename T, WeightRows kRows>
ELASTICLM_DEVICE void small_fetch_weights(const SmallLinear<T>& linear, uint32_t ring, SmallCursor& cursor) {
  if (!cursor.item.valid) return;
  const LinearGroup& group = cursor.item.group;
  const uint32_t slot = ring + static_cast<uint32_t>(cursor.slot * kSmallWeightSlotBytes);
  const int depth_begin = cursor.chunk_idx * kSmallChunkDepth;
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int kCopies = kSmallChunkDepth * kRowBlock / 8 / kSmallThreads;
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    const int copy = i * kSmallThreads + thread;
    if constexpr (kRows == WeightRows::kColumns) {
      const int row = copy / (kSmallChunkDepth / 8);
      const int k = copy % (kSmallChunkDepth / 8) * 8;
      if (depth_begin + k >= group.depth) continue;
      const int64_t stored = stored_row(group, linear.row_blocks, cursor.item.column_block) + row;
      ptx::cp_async_16(slot + static_cast<uint32_t>(row * kSmallChunkPitch + k * 2),
                       linear.weight + stored * linear.ld_weight + depth_begin + k, true);
    } else {
      const int k = copy / 2;
      const int half = copy % 2;
      if (depth_begin + k >= group.depth) continue;
      const int64_t stored =
          stored_row(group, linear.row_blocks, (depth_begin + k) / kRowBlock) + k % kRowBlock;
      ptx::cp_async_16(
          slot + static_cast<uint32_t>(k * kSmallDepthPitch + (half ^ (k >> 2 & 1)) * 16),
          linear.weight + stored * linear.ld_weight + cursor.item.column_block * kRowBlock + half * 8, true);
    }
  }
  small_advance(linear, kSmallWeightSlots, cursor);
}

// Starts to copy the cursor's chunk of the group's rows of x.
template <typename T>
ELASTICLM_DEVICE void small_fetch_rows(const SmallLinear<T>& linear, const T* x, int64_t ldx,
                                       const SmallBuffers& buffers, SmallCursor& cursor) {
  if (!cursor.item.valid) return;
  const LinearGroup& group = cursor.item.group;
  const uint32_t slot = buffers.rows + static_cast<uint32_t>(cursor.slot * buffers.row_slot_bytes);
  const int depth_begin = cursor.chunk_idx * kSmallChunkDepth;
  const int k = static_cast<int>(threadIdx.x) % (kSmallChunkDepth / 8) * 8;
  if (depth_begin + k < group.depth) {
    for (int row = static_cast<int>(threadIdx.x) / (kSmallChunkDepth / 8); row < group.num_rows;
         row += kSmallThreads / (kSmallChunkDepth / 8)) {
      ptx::cp_async_16(slot + static_cast<uint32_t>(row * kSmallChunkPitch + k * 2),
                       x + (group.row_begin + row) * ldx + depth_begin + k, true);
    }
  }
  small_advance(linear, kSmallRowSlots, cursor);
}

// The first chunks of a step's weights: everything that fits without reusing a slot, one group of copies for
// each, also where there is none, so that the number of groups on their way is always known.
template <typename T, WeightRows kRows>
ELASTICLM_DEVICE SmallCursor small_prefetch(const SmallLinear<T>& linear, uint32_t ring) {
  SmallCursor cursor = small_begin(linear);
#pragma unroll 1
  for (int i = 0; i < kSmallWeightSlots - 1; ++i) {
    small_fetch_weights<T, kRows>(linear, ring, cursor);
    ptx::cp_async_commit();
  }
  return cursor;
}

// The B fragments of one k16 step: columns 0..7 in b[0], b[1], columns 8..15 in b[2], b[3].
template <WeightRows kRows>
ELASTICLM_DEVICE void small_weight_fragments(uint32_t (&b)[4], uint32_t slot, int k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  if constexpr (kRows == WeightRows::kColumns) {
    // matrices: (columns 0..7, k 0..7), (0..7, 8..15), (8..15, 0..7), (8..15, 8..15)
    const int column = lane % 8 + lane / 16 * 8;
    ptx::ldmatrix_x4(b, slot + static_cast<uint32_t>(column * kSmallChunkPitch + (k + lane / 8 % 2 * 8) * 2));
  } else {
    // stored k-major, so each is read transposed: (k 0..7, columns 0..7), (8..15, 0..7), (0..7, 8..15),
    // (8..15, 8..15)
    const int row = k + lane % 16;
    const int half = lane / 16 ^ (row >> 2 & 1);
    ptx::ldmatrix_x4_trans(b, slot + static_cast<uint32_t>(row * kSmallDepthPitch + half * 16));
  }
}

// The A fragments of rows first_row up to + 15, at element k of each; rows past last_row repeat it and are
// not stored.
ELASTICLM_DEVICE void small_row_fragments(uint32_t (&a)[4], uint32_t rows, int pitch, int first_row,
                                          int last_row, int k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int row = min(first_row + lane % 16, last_row);
  ptx::ldmatrix_x4(a, rows + static_cast<uint32_t>(row * pitch + (k + lane / 16 * 8) * 2));
}

// Two neighbouring elements of y.
struct SmallElement {
  int32_t row;        // of the batch
  int32_t column;     // of the first
  const float* bias;  // of the first
  int32_t num_kept_columns;
};

// Where a warp's sum lies. Columns 0 to 7 and 8 to 15 change places where bit 1 of the row is set, so that
// pairs of four neighbouring rows, which half a warp writes at once, meet no bank twice; nor do those that it
// reads.
ELASTICLM_DEVICE int small_sum_offset(int warp, int row, int column) {
  return (warp * kSmallRows + row) * kRowBlock + (column ^ (row & 2) << 2);
}

// Adds up the warps' sums in the order of the warps and hands each pair of columns to store(element, sum).
template <typename T, WeightRows kRows, typename Store>
ELASTICLM_DEVICE void small_store(const SmallLinear<T>& linear, const SmallItem& item, float* all_sums,
                                  const float (&acc)[kSmallPieces][2][4], const Store& store) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
#pragma unroll
  for (int m = 0; m < kSmallPieces; ++m) {
    if (m * 16 >= item.group.num_rows) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = m * 16 + lane / 4;
      const int column = half * 8 + lane % 4 * 2;
      *reinterpret_cast<float2*>(all_sums + small_sum_offset(warp, row, column)) = {acc[m][half][0],
                                                                                    acc[m][half][1]};
      *reinterpret_cast<float2*>(all_sums + small_sum_offset(warp, row + 8, column)) = {acc[m][half][2],
                                                                                        acc[m][half][3]};
    }
  }
  __syncthreads();
  const LinearGroup& group = item.group;
  const int first_bias = kRows == WeightRows::kColumns
                             ? stored_row(group, linear.row_blocks, item.column_block)
                             : item.column_block * kRowBlock;
  const int pair = static_cast<int>(threadIdx.x) % 8 * 2;
#pragma unroll 1
  for (int row = static_cast<int>(threadIdx.x) / 8; row < group.num_rows; row += kSmallThreads / 8) {
    float2 sum = {0.0f, 0.0f};
#pragma unroll
    for (int w = 0; w < kSmallWarps; ++w) {
      const float2 from = *reinterpret_cast<const float2*>(all_sums + small_sum_offset(w, row, pair));
      sum.x += from.x;
      sum.y += from.y;
    }
    store(SmallElement{group.row_begin + row, item.column_block * kRowBlock + pair,
                       linear.bias + first_bias + pair, group.num_kept_columns},
          sum);
  }
  __syncthreads();  // before the next item's sums
}

// Rows that pass by in chunks (WeightRows::kDepth).
template <typename T>
struct SmallSource {
  const T* x = nullptr;  // [T, ldx] in device memory
  int64_t ldx = 0;
};

// Runs this block's items of a step whose first weights small_prefetch has asked for.
template <typename T, WeightRows kRows, typename Store>
ELASTICLM_DEVICE void small_linear(const SmallLinear<T>& linear, const SmallBuffers& buffers,
                                   SmallCursor weights, const SmallSource<T>& source, const Store& store) {
  constexpr bool kRowsPassBy = kRows == WeightRows::kDepth;
  // Groups of copies that may still be on their way when a chunk is needed.
  constexpr int kPending = kRowsPassBy ? kSmallRowSlots - 2 : kSmallWeightSlots - 2;
  const int first_step = static_cast<int>(threadIdx.x) / kWarpThreads * kSmallChunkSteps;
  SmallCursor rows;
  if constexpr (kRowsPassBy) {
    rows = small_begin(linear);
#pragma unroll 1
    for (int i = 0; i < kSmallRowSlots - 1; ++i) {
      small_fetch_rows(linear, source.x, source.ldx, buffers, rows);
      ptx::cp_async_commit();
    }
  }
  int weight_slot = 0;
  int row_slot = 0;
#pragma unroll 1
  for (int item_idx = static_cast<int>(blockIdx.x);; item_idx += static_cast<int>(gridDim.x)) {
    const SmallItem item = small_item(linear, item_idx);
    if (!item.valid) break;
    const LinearGroup& group = item.group;
    const int first_row = kRowsPassBy ? 0 : group.row_begin;
    float acc[kSmallPieces][2][4] = {};
#pragma unroll 1
    for (int depth_begin = 0; depth_begin < group.depth; depth_begin += kSmallChunkDepth) {
      ptx::cp_async_wait<kPending>();
      __syncthreads();  // the chunk is here for all warps, and all have read the one before it
      small_fetch_weights<T, kRows>(linear, buffers.weights, weights);
      if constexpr (kRowsPassBy) small_fetch_rows(linear, source.x, source.ldx, buffers, rows);
      ptx::cp_async_commit();
      const uint32_t slot = buffers.weights + static_cast<uint32_t>(weight_slot * kSmallWeightSlotBytes);
      const uint32_t x = buffers.rows + static_cast<uint32_t>(kRowsPassBy ? row_slot * buffers.row_slot_bytes
                                                                          : depth_begin * 2);
      const int pitch = kRowsPassBy ? kSmallChunkPitch : buffers.row_pitch;
#pragma unroll
      for (int s = 0; s < kSmallChunkSteps; ++s) {
        const int k = (first_step + s) * 16;
        if (depth_begin + k >= group.depth) continue;
        uint32_t b[4];
        small_weight_fragments<kRows>(b, slot, k);
#pragma unroll
        for (int m = 0; m < kSmallPieces; ++m) {
          if (m * 16 >= group.num_rows) continue;
          uint32_t a[4];
          small_row_fragments(a, x, pitch, first_row + m * 16, first_row + group.num_rows - 1, k);
          ptx::mma_m16n8k16<T>(acc[m][0], a, {b[0], b[1]});
          ptx::mma_m16n8k16<T>(acc[m][1], a, {b[2], b[3]});
        }
      }
      weight_slot = weight_slot + 1 == kSmallWeightSlots ? 0 : weight_slot + 1;
      row_slot = row_slot + 1 == kSmallRowSlots ? 0 : row_slot + 1;
    }
    small_store<T, kRows>(linear, item, buffers.sums, acc, store);
  }
}

}  // namespace elasticlm::cuda
