#include "exec/outputs.h"

#include <algorithm>

#include "core/packed_matrix.h"
#include "core/status.h"
#include "exec/dense.h"

namespace elasticlm {
namespace {

// A sequence of a block and where its rows begin.
struct PlacedSequence {
  int64_t position;  // in the batch
  int64_t row;       // in the block
  int64_t num_rows;
};

template <typename Visit>
void for_each_sequence(const ForwardContext& forward, const PlanBlock& block, const Visit& visit) {
  int64_t row = 0;
  for (const Segment& segment : block.segments) {
    for (const int32_t sequence : segment.sequences) {
      const auto at = static_cast<size_t>(sequence);
      const int64_t num_rows = forward.batch.cu_seqlens[at + 1] - forward.batch.cu_seqlens[at];
      visit(PlacedSequence{sequence, row, num_rows});
      row += num_rows;
    }
  }
}

void write_hidden(const ForwardContext& forward, const BlockRun& run, float* out) {
  const int64_t hidden_size = forward.weights.config.hidden_size;
  const int64_t ld = forward.plan.arena.hidden.ld;
  for_each_sequence(forward, run.block(), [&](const PlacedSequence& sequence) {
    float* to = out + forward.batch.cu_seqlens[static_cast<size_t>(sequence.position)] * hidden_size;
    for (int64_t r = 0; r < sequence.num_rows; ++r) {
      std::copy_n(run.hidden() + (sequence.row + r) * ld, hidden_size, to + r * hidden_size);
    }
  });
}

void write_pooled(const ForwardContext& forward, const ForwardOptions& options, const BlockRun& run,
                  float* out) {
  const int64_t hidden_size = forward.weights.config.hidden_size;
  const int64_t ld = forward.plan.arena.hidden.ld;
  for_each_sequence(forward, run.block(), [&](const PlacedSequence& sequence) {
    PoolingArgs args;
    args.x = run.hidden() + sequence.row * ld;
    args.y = out + sequence.position * hidden_size;
    args.num_rows = sequence.num_rows;
    args.hidden_size = hidden_size;
    args.ldx = ld;
    args.pooling = options.pooling;
    args.normalize = options.normalize;
    forward.kernels.pooling_forward(args);
  });
}

// pooler.dense over the first token of each sequence, and the classifier over that.
void write_head(const ForwardContext& forward, Output output, const BlockRun& run, Worker& worker,
                float* out) {
  const ModelWeights& weights = forward.weights;
  const int64_t ld = forward.plan.arena.hidden.ld;
  const int64_t ld_logits = round_up(weights.num_labels, kBlockColumns);
  int64_t num_sequences = 0;
  for (const Segment& segment : run.block().segments)
    num_sequences += static_cast<int64_t>(segment.sequences.size());

  float* first_tokens = worker.head.reserve<float>(num_sequences * (2 * ld + ld_logits));
  float* pooled = first_tokens + num_sequences * ld;
  float* logits = pooled + num_sequences * ld;
  int64_t i = 0;
  for_each_sequence(forward, run.block(), [&](const PlacedSequence& sequence) {
    std::copy_n(run.hidden() + sequence.row * ld, ld, first_tokens + i++ * ld);
  });
  dense(forward.kernels, *weights.pooler, Activation::kTanh, {first_tokens, ld, pooled, ld, num_sequences});
  const bool is_logits = output == Output::kLogits;
  if (is_logits) {
    dense(forward.kernels, *weights.classifier, Activation::kNone,
          {pooled, ld, logits, ld_logits, num_sequences});
  }
  const float* result = is_logits ? logits : pooled;
  const int64_t ld_result = is_logits ? ld_logits : ld;
  const int64_t width = output_width(weights, output);
  i = 0;
  for_each_sequence(forward, run.block(), [&](const PlacedSequence& sequence) {
    std::copy_n(result + i++ * ld_result, width, out + sequence.position * width);
  });
}

}  // namespace

void check_output(const ModelWeights& weights, Output output) {
  const bool needs_pooler = output == Output::kPooler || output == Output::kLogits;
  if (needs_pooler && !weights.pooler) {
    fail(ErrorCode::kConfigInvalid, {.expected = "a checkpoint with pooler.dense",
                                     .subject = "the output of the pooler or the classifier",
                                     .received = "one without",
                                     .remedy = "Ask for hidden states or pooled vectors"});
  }
  if (output == Output::kLogits && !weights.classifier) {
    fail(ErrorCode::kConfigInvalid, {.expected = "a checkpoint with classifier weights",
                                     .subject = "logits",
                                     .received = "one without",
                                     .remedy = "Ask for hidden states or pooled vectors"});
  }
}

int64_t output_width(const ModelWeights& weights, Output output) {
  return output == Output::kLogits ? weights.num_labels : weights.config.hidden_size;
}

void write_outputs(const ForwardContext& forward, const ForwardOptions& options, const BlockRun& run,
                   Worker& worker, float* out) {
  switch (options.output) {
    case Output::kHidden:
      return write_hidden(forward, run, out);
    case Output::kPooled:
      return write_pooled(forward, options, run, out);
    case Output::kPooler:
    case Output::kLogits:
      return write_head(forward, options.output, run, worker, out);
  }
}

}  // namespace elasticlm
