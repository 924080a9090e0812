// From (config, structures, batch shape, threads) to a printable list of what to run. No pointers to data,
// testable alone.
//
// A batch is cut into blocks of whole sequences. A block goes through all layers before the next one (its
// activations stay in a core's L2 cache); blocks run on different threads without meeting. Where whole blocks
// would leave threads idle, the steps inside a block are split into chunks instead.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/structure.h"

namespace elasticlm {

struct BatchShape {
  std::span<const int32_t> cu_seqlens;     // [B + 1]
  std::span<const int32_t> structure_idx;  // [B] position in `structures`
};

// Neighbouring rows of one structure within a block.
struct Segment {
  int64_t row_begin = 0;  // within the block
  int64_t num_rows = 0;
  int32_t structure_idx = 0;
  std::vector<int32_t> sequences;  // positions in the batch, in the order of their rows
};

enum class StepOp {
  kEmbedding,
  kQkvProj,
  kAttention,
  kAttnOutProj,
  kAttnLayerNorm,
  kFfnUp,
  kFfnDown,
  kFfnLayerNorm
};
const char* step_op_name(StepOp op);

struct PlanStep {
  StepOp op = StepOp::kEmbedding;
  int32_t layer = 0;
};

// What the chunks of a stage divide among them.
enum class Split {
  kWhole,    // nothing: one chunk
  kRows,     // the block's rows
  kPanels,   // the columns of a linear step, at weight panels
  kContext,  // the rows of all heads' contexts: a sequence's heads, and a head's queries
};
const char* split_name(Split split);

// Steps that a chunk runs one after the other without waiting for the other chunks.
struct Stage {
  int32_t step_begin = 0;  // positions in Plan::steps
  int32_t step_end = 0;
  Split split = Split::kWhole;
  int64_t num_chunks = 1;
};

struct PlanBlock {
  int64_t num_rows = 0;
  int64_t num_chunks = 1;         // into how many chunks its steps are split; 1: the block runs on one thread
  std::vector<Segment> segments;  // falling number of kept heads and neurons
  std::vector<Stage> stages;      // cover Plan::steps in order
};

// Floats from the start of a block's arena. Regions are disjoint where their lifetimes meet. Sizes follow the
// config alone, not the structures, so that another level never needs another arena.
struct ArenaLayout {
  int64_t num_rows = 0;  // room for so many rows in each region
  int64_t ids =
      0;  // gathered input_ids, position_ids, token_type_ids (int32, one float's room each): [3, num_rows]
  int64_t hidden = 0;   // [num_rows, ld_hidden]
  int64_t qkv = 0;      // per kept head [num_rows, qkv_head_columns], qkv_head_stride apart
  int64_t context = 0;  // [num_rows, ld_hidden]: the kept heads' D columns each, compact
  int64_t ffn = 0;      // [num_rows, ld_ffn]: the kept neurons, compact
  int64_t num_floats = 0;
  int64_t ld_hidden = 0;
  int64_t ld_ffn = 0;
  int64_t qkv_head_stride = 0;
};

struct Plan {
  // Those with num_chunks == 1 come first, by falling cost: they run side by side. The others follow, one by
  // one.
  std::vector<PlanBlock> blocks;
  int64_t num_whole_blocks = 0;  // blocks with num_chunks == 1
  std::vector<PlanStep> steps;   // the same for every block; a segment that keeps nothing of a step skips it
  ArenaLayout arena;             // for the largest block
  int64_t max_seqlen = 0;        // longest sequence of the batch

  std::string to_string(const EncoderConfig& config, std::span<const Structure> structures) const;
};

// `shape` must come from a validated batch, `num_threads` be at least 1.
Plan make_plan(const EncoderConfig& config, std::span<const Structure> structures, const BatchShape& shape,
               int num_threads);

// Multiply-adds times two that a plan's linear and attention steps perform; the basis of computeFraction and
// of GFLOP/s.
double plan_flops(const EncoderConfig& config, std::span<const Structure> structures,
                  const BatchShape& shape);

// Half-open range of rows, columns or other units.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// The share of chunk `chunk_idx` when `size` units are divided into `num_chunks` nearly equal parts whose
// bounds are multiples of `granularity`. Shares cover [0, size) in order; some are empty when there are fewer
// units than chunks.
Range chunk_range(int64_t size, int64_t granularity, int64_t num_chunks, int64_t chunk_idx);

// Rows of the largest register tile (packed_matrix.h, 8 x 48): fewer rows than this cost nearly as much.
inline constexpr int64_t kTileRows = 8;

}  // namespace elasticlm
