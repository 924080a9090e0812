// From (config, structures, batch shape, threads) to a printable list of what to run. No pointers to data, testable alone.
//
// A batch is cut into blocks of whole sequences. A block goes through all layers before the next one (its activations stay
// in a core's L2 cache); blocks run on different threads without meeting. When there are fewer blocks than threads, the
// steps inside a block are split into chunks instead.
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

struct PlanBlock {
  int64_t num_rows = 0;
  int64_t num_chunks = 1;          // into how many chunks each step is split; 1: the block runs on one thread
  std::vector<Segment> segments;   // falling number of kept heads and neurons
};

enum class StepOp { kEmbedding, kQkvProj, kAttention, kAttnOutProj, kAttnLayerNorm, kFfnUp, kFfnDown, kFfnLayerNorm };
const char* step_op_name(StepOp op);

struct PlanStep {
  StepOp op = StepOp::kEmbedding;
  int32_t layer = 0;
};

// Floats from the start of a block's arena. Regions are disjoint where their lifetimes meet.
struct ArenaLayout {
  int64_t hidden = 0;   // [rows, E padded to 16]
  int64_t qkv = 0;      // per segment: [kept heads][rows, qkv_head_columns]
  int64_t context = 0;  // [rows, H * D padded to 16]
  int64_t ffn = 0;      // [rows, F padded to 16]
  int64_t ids = 0;      // gathered input_ids, position_ids, token_type_ids (int32, one float's room each): [3, rows]
  int64_t num_floats = 0;
};

struct Plan {
  std::vector<PlanBlock> blocks;
  std::vector<PlanStep> steps;  // the same for every block; a segment that keeps nothing of a step skips it
  ArenaLayout arena;            // for the largest block
  std::string to_string(const EncoderConfig& config, std::span<const Structure> structures) const;
};

Plan make_plan(const EncoderConfig& config, std::span<const Structure> structures, const BatchShape& shape, int num_threads);

// Multiply-adds times two that a plan's linear and attention steps perform; the basis of computeFraction and of GFLOP/s.
double plan_flops(const EncoderConfig& config, std::span<const Structure> structures, const BatchShape& shape);

}  // namespace elasticlm
