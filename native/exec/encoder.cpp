#include "exec/encoder.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "core/status.h"
#include "exec/block_run.h"
#include "exec/outputs.h"
#include "exec/structure_runs.h"

namespace elasticlm {
namespace {

// Runs of the structures that the plan's sequences have; the others stay empty.
std::vector<StructureRuns> make_runs(const EncoderConfig& config, std::span<const Structure> structures,
                                     const Plan& plan) {
  std::vector<bool> used(structures.size());
  for (const PlanBlock& block : plan.blocks) {
    for (const Segment& segment : block.segments) used[static_cast<size_t>(segment.structure_idx)] = true;
  }
  std::vector<StructureRuns> runs(structures.size());
  for (size_t i = 0; i < structures.size(); ++i) {
    if (used[i]) runs[i] = StructureRuns(config, structures[i], plan.arena.qkv_head_stride);
  }
  return runs;
}

// Runs `body`, turning what the standard library throws when memory is short into the public code.
template <typename Body>
void with_coded_errors(const Body& body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kMemoryExhausted, {.expected = "memory",
                                       .subject = "the scratch space of a forward",
                                       .received = "none from the system",
                                       .remedy = "Use shorter sequences, fewer threads or a smaller batch"});
  }
}

// Importance ranks what differs by little: it is measured on activations that nothing has rounded.
void require_f32(Precision precision) {
  if (precision == Precision::kF32) return;
  fail(ErrorCode::kPrecisionUnsupported, {.expected = "a model in f32, whose activations are not rounded",
                                          .subject = "calibrate()",
                                          .received = std::string("one in ") + precision_name(precision),
                                          .remedy = "Load the model with precision 'f32' for it"});
}

}  // namespace

struct Encoder::State {
  State(std::shared_ptr<const ModelWeights> model_weights, Isa isa, int num_threads)
      : weights(std::move(model_weights)),
        kernels(kernel_table(isa)),
        workers(static_cast<size_t>(std::max(num_threads, 1))) {}

  std::shared_ptr<const ModelWeights> weights;
  const KernelTable& kernels;
  std::vector<Worker> workers;  // by worker_idx; each touched by its own thread only

  int64_t attention_floats(const Plan& plan) const {
    const AttentionScratchFloats measure = weights->precision == Precision::kF32
                                               ? kernels.attention_scratch_floats
                                               : kernels.attention_bf16_scratch_floats;
    return measure(plan.max_seqlen, weights->config.head_dim());
  }
};

Encoder::Encoder(std::shared_ptr<const ModelWeights> weights, Isa isa, int num_threads)
    : state_(std::make_shared<State>(std::move(weights), isa, num_threads)) {}

const ModelWeights& Encoder::weights() const { return *state_->weights; }

Isa Encoder::isa() const { return state_->kernels.isa; }

int64_t Encoder::output_floats(const Batch& batch, Output output) const {
  const size_t count = output == Output::kHidden ? batch.input_ids.size() : batch.structure_idx.size();
  return static_cast<int64_t>(count) * output_width(*state_->weights, output);
}

void Encoder::forward(const Batch& batch, std::span<const Structure> structures,
                      const ForwardOptions& options, ThreadPool& pool, int worker_idx, float* out) {
  State& state = *state_;
  check_output(*state.weights, options.output);
  with_coded_errors([&] {
    const Plan plan = make_plan(state.weights->config, structures, {batch.cu_seqlens, batch.structure_idx},
                                {.precision = state.weights->precision, .num_threads = pool.num_threads()});
    const std::vector<StructureRuns> runs = make_runs(state.weights->config, structures, plan);
    const ForwardContext context{
        *state.weights, state.kernels, batch,           plan,
        runs,           state.workers, options.aborted, state.attention_floats(plan)};
    const auto run_block = [&](int64_t block_idx, int owner_idx) {
      BlockRun run(context, plan.blocks[static_cast<size_t>(block_idx)], owner_idx);
      run.run(pool, nullptr);
      write_outputs(context, options, run, state.workers[static_cast<size_t>(owner_idx)], out);
    };
    pool.parallel_for(plan.num_whole_blocks, worker_idx, std::ref(run_block));
    for (auto i = plan.num_whole_blocks; i < static_cast<int64_t>(plan.blocks.size()); ++i)
      run_block(i, worker_idx);
  });
}

void Encoder::accumulate_activations(const Batch& batch, ThreadPool& pool, int worker_idx,
                                     ActivationSums& sums) {
  State& state = *state_;
  require_f32(state.weights->precision);
  const EncoderConfig& config = state.weights->config;
  const auto num_heads = static_cast<size_t>(config.num_layers * config.num_heads);
  const auto num_neurons = static_cast<size_t>(config.num_layers * config.intermediate_size);
  with_coded_errors([&] {
    sums.heads.resize(num_heads);
    sums.neurons.resize(num_neurons);
    const std::vector<Structure> structures = {Structure::full(config)};
    const std::vector<int32_t> structure_idx(batch.structure_idx.size());
    const Batch full{batch.input_ids, batch.token_type_ids, batch.cu_seqlens, structure_idx};
    // One thread's plan, and one set of sums per block added up in order: the same bits whatever the pool's
    // size.
    const Plan plan = make_plan(config, structures, {full.cu_seqlens, full.structure_idx}, {});
    const std::vector<StructureRuns> runs = make_runs(config, structures, plan);
    const ForwardContext context{*state.weights, state.kernels, full,    plan,
                                 runs,           state.workers, nullptr, state.attention_floats(plan)};
    std::vector<double> block_sums(plan.blocks.size() * (num_heads + num_neurons));
    const auto run_block = [&](int64_t block_idx, int owner_idx) {
      double* first = block_sums.data() + static_cast<size_t>(block_idx) * (num_heads + num_neurons);
      const ActivationTaps taps{first, first + num_heads};
      BlockRun(context, plan.blocks[static_cast<size_t>(block_idx)], owner_idx).run(pool, &taps);
    };
    pool.parallel_for(static_cast<int64_t>(plan.blocks.size()), worker_idx, std::ref(run_block));
    for (size_t block = 0; block < plan.blocks.size(); ++block) {
      const double* first = block_sums.data() + block * (num_heads + num_neurons);
      for (size_t i = 0; i < num_heads; ++i) sums.heads[i] += first[i];
      for (size_t i = 0; i < num_neurons; ++i) sums.neurons[i] += first[num_heads + i];
    }
    sums.num_tokens += static_cast<int64_t>(batch.input_ids.size());
  });
}

int64_t Encoder::arena_bytes() const {
  int64_t bytes = 0;
  for (const Worker& worker : state_->workers) bytes += worker.bytes();
  return bytes;
}

}  // namespace elasticlm
