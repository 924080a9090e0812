// Turns a block's last hidden states into what was asked for and puts it at its place in the batch's order.
#pragma once

#include "exec/block_run.h"

namespace elasticlm {

// Throws kConfigInvalid when the weights lack what `output` needs.
void check_output(const ModelWeights& weights, Output output);

// Floats per token (kHidden) or per sequence (all others) of `output`.
int64_t output_width(const ModelWeights& weights, Output output);

// Writes the share of `run`'s sequences to `out`, which holds the whole batch's. From the thread of `worker`.
void write_outputs(const ForwardContext& forward, const ForwardOptions& options, const BlockRun& run,
                   Worker& worker, float* out);

}  // namespace elasticlm
