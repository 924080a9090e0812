// What a forward's kernels read to know their work: plain records in one device buffer, written by the host's
// plan (plan/device_plan.h) and uploaded before the first kernel. Which SubLM a sequence runs at is data here
// and nothing else: no launch parameter depends on it, so one captured graph serves every level and every mix
// of levels.
//
// Rows are the batch's tokens in the plan's order: sequences of one structure stand together, structures by
// falling cost.
#pragma once

#include <cstdint>

namespace elasticlm::cuda {

// Stored weights are kept or left out in blocks of so many rows (core/packed_matrix.h has the same unit).
inline constexpr int kRowBlock = 16;
// LinearGroup::row_blocks of a group that keeps the first rows.
inline constexpr int32_t kPrefix = -1;

struct PlanHeader {
  int32_t num_rows = 0;             // T
  int32_t num_sequences = 0;        // B
  int32_t num_attention_tiles = 0;  // of AttentionTile
};

// One sequence.
struct SequenceRecord {
  int32_t row_begin = 0;
  int32_t num_rows = 0;  // S
  int32_t position = 0;  // in the caller's batch
};

// Rows of one structure in one linear step.
struct LinearGroup {
  int32_t row_begin = 0;
  int32_t num_rows = 0;
  int32_t num_columns = 0;  // columns of y that are written, a multiple of 16 (all E for WeightRows::kDepth)
  int32_t num_kept_columns = 0;  // those from here on are written as zeros: a short last block of neurons
  int32_t depth = 0;             // columns of x that are read, a multiple of 16
  // Where this group's list of stored row blocks begins in the plan's row_blocks, or kPrefix.
  // WeightRows::kColumns: block i holds columns 16 i up to 16 i + 15 of y. WeightRows::kDepth: block i holds
  // columns 16 i up to 16 i + 15 of x.
  int32_t row_blocks = kPrefix;
};

// The groups of one linear step of one layer. Structures that keep nothing of it have no group.
struct LinearStep {
  int32_t group_begin = 0;
  int32_t num_groups = 0;
};

// Up to kAttentionQueries queries of one sequence.
inline constexpr int kAttentionQueries = 64;
struct AttentionTile {
  int32_t row_begin = 0;    // the sequence's first row
  int32_t num_rows = 0;     // S
  int32_t query_begin = 0;  // within the sequence
};

// Tiles of one structure in one layer, for each of its kept heads: num_tiles * num_heads items.
struct AttentionGroup {
  int32_t tile_begin = 0;
  int32_t num_tiles = 0;
  int32_t num_heads = 0;   // kept; head slot h reads columns [3 D h, 3 D h + 3 D) of qkv: q | k | v
  int32_t item_begin = 0;  // items of the groups before
};

struct AttentionStep {
  int32_t group_begin = 0;
  int32_t num_groups = 0;
  int32_t num_items = 0;  // of all groups
};

}  // namespace elasticlm::cuda
