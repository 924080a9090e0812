#include "train/encoder_pass.h"

#include <new>
#include <string>

#include "core/status.h"
#include "train/pass_run.h"

namespace elasticlm {
namespace {

// Runs `body`, turning what the standard library throws when memory is short into the public code.
template <typename Body>
void with_coded_errors(const Body& body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kMemoryExhausted, {.expected = "memory",
                                       .subject = "the activations of a training step",
                                       .received = "none from the system",
                                       .remedy = "Use a smaller micro-batch, or recompute activations"});
  }
}

[[noreturn]] void refuse(const std::string& expected, size_t structure_idx, const std::string& received) {
  fail(ErrorCode::kStructureInvalid, {.expected = expected,
                                      .subject = "structure " + std::to_string(structure_idx) + " of a pass",
                                      .received = received,
                                      .remedy = ""});
}

void require_nested_prefixes(std::span<const Structure> structures) {
  if (structures.empty()) refuse("at least one SubLM", 0, "none");
  for (size_t i = 0; i < structures.size(); ++i) {
    for (size_t l = 0; l < structures[i].layers.size(); ++l) {
      const LayerStructure& kept = structures[i].layers[l];
      if (!kept.heads.empty() || !kept.neuron_blocks.empty())
        refuse("a prefix of each layer", i, "a list in layer " + std::to_string(l));
      if (i == 0) continue;
      const LayerStructure& larger = structures[i - 1].layers[l];
      if (kept.num_heads > larger.num_heads || kept.num_neurons > larger.num_neurons)
        refuse("one contained in the structure before it", i, "a larger layer " + std::to_string(l));
    }
  }
}

}  // namespace

struct EncoderPass::State : PassRun {
  using PassRun::PassRun;
};

EncoderPass::EncoderPass(const TrainWeights& weights, Saving saving)
    : state_(std::make_unique<State>(*weights.packed_, saving)) {}

EncoderPass::~EncoderPass() = default;

void EncoderPass::forward(const TokenBatch& batch, std::span<const Structure> structures,
                          const TrainThreads& threads) {
  require_nested_prefixes(structures);
  with_coded_errors([&] { state_->forward(batch, structures, threads); });
}

int64_t EncoderPass::num_rows() const { return state_->layout().num_subs() * state_->layout().num_tokens(); }

const float* EncoderPass::hidden(int64_t structure_idx) const {
  return state_->layout().layers().back().x2.row(structure_idx, 0);
}

const float* EncoderPass::last_qkv() const { return state_->last_qkv(); }

int64_t EncoderPass::last_qkv_ld() const { return state_->last_qkv_ld(); }

void EncoderPass::backward(float* d_hidden, ParameterSet& gradients, MaskGradients* masks,
                           const TrainThreads& threads) {
  if (masks != nullptr && !state_->is_one_full_structure())
    refuse("one full structure for mask gradients", 0, "another pass");
  with_coded_errors([&] { state_->backward(d_hidden, gradients, masks, threads); });
}

int64_t EncoderPass::arena_bytes() const { return state_->bytes(); }

}  // namespace elasticlm
