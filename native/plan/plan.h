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

#include "core/precision.h"
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
  kQuantizeContext,  // i8 only: the rows of the output projection
  kAttnOutProj,
  kAttnLayerNorm,
  kFfnUp,
  kQuantizeFfn,  // i8 only: the rows of FFN-down
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

// Rows of a block's arena.
struct Region {
  int64_t begin = 0;  // bytes from the arena's start
  int64_t ld = 0;     // elements
  int64_t element_bytes = 0;

  int64_t row(int64_t r) const { return begin + r * ld * element_bytes; }
};

// Regions are disjoint where their lifetimes meet. Activations between the linear layers are f32 in f32, and
// bf16 in bf16 and i8. Sizes follow the config alone, not the structures, so that another level never needs
// another arena.
struct ArenaLayout {
  int64_t num_rows = 0;         // room for so many rows in each region
  int64_t ids = 0;              // gathered input_ids, position_ids, token_type_ids (int32): [3, num_rows]
  Region hidden;                // [num_rows, E] f32
  Region qkv;                   // per kept head [num_rows, qkv_head_columns], qkv_head_stride apart
  int64_t qkv_head_stride = 0;  // elements
  Region context;               // [num_rows, E]: the kept heads' D columns each, compact
  Region ffn;                   // [num_rows, F]: the kept neurons, compact
  // The rows that linear layers read, in their precision. Where that is the one in which they were written
  // they are the regions above; bf16 has rounded hidden states, and in i8 all three have one place, which
  // holds what is read next.
  Region hidden_operand;
  Region context_operand;
  Region ffn_operand;
  int64_t row_scales = 0;  // i8 only: [num_rows] RowScale of the operand
  int64_t num_bytes = 0;
};

struct Plan {
  // Those with num_chunks == 1 come first, by falling cost: they run side by side. The others follow, one by
  // one.
  std::vector<PlanBlock> blocks;
  int64_t num_whole_blocks = 0;  // blocks with num_chunks == 1
  std::vector<PlanStep> steps;   // the same for every block; a segment that keeps nothing of a step skips it
  ArenaLayout arena;             // for the largest block
  int64_t max_seqlen = 0;        // longest sequence of the batch
  Precision precision = Precision::kF32;

  std::string to_string(const EncoderConfig& config, std::span<const Structure> structures) const;
};

// How a model runs, the same for all its batches.
struct PlanOptions {
  Precision precision = Precision::kF32;
  int num_threads = 1;  // at least 1
};

// `shape` must come from a validated batch.
Plan make_plan(const EncoderConfig& config, std::span<const Structure> structures, const BatchShape& shape,
               const PlanOptions& options);

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
