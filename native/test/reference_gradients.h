// Forward and backward of the encoder from their definitions alone, with plain loops: shares no code with
// kernels/ and train/ but the layout of parameters. In f64 it is the truth, itself held against central
// differences; the naive results in a lower precision have a distance from the truth that sets the tolerance
// of tests.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "model/structure.h"
#include "train/parameters.h"
#include "train/train_batch.h"

namespace elasticlm::test {

enum class GradientArithmetic {
  kF64,
  kNaiveF32,
  kNaiveBf16,  // f32, and both sides of every product with or for linear weights rounded to bf16
};

struct ReferenceInput {
  const ParameterLayout& layout;
  std::span<const double> values;  // [num_floats]
  const Structure& structure;
  const TokenBatch& batch;
  std::span<const double> head_mask;    // [L * H] factors of contexts; empty: ones
  std::span<const double> neuron_mask;  // [L * F] factors of GELU's outputs; empty: ones
};

struct ReferenceGradients {
  std::vector<double> hidden;      // [T, E]
  std::vector<double> parameters;  // [num_floats]
  std::vector<double> heads;       // [L * H]
  std::vector<double> neurons;     // [L * F]
};

std::vector<double> reference_forward(const ReferenceInput& input);

// Of the loss Σ d_hidden * hidden.
ReferenceGradients reference_gradients(const ReferenceInput& input, std::span<const double> d_hidden,
                                       GradientArithmetic arithmetic);

// Parameters as a trained encoder has them: products of order 1, LayerNorm near the identity, all biases
// different from 0.
void fill_randomly(uint64_t seed, ParameterSet& parameters);

std::vector<double> widened(std::span<const float> values);

// Runs `body` in a job of `pool`, waits, and rethrows what it throws.
void run_job(ThreadPool& pool, const std::function<void(const TrainThreads&)>& body,
             const std::atomic<bool>* aborted = nullptr);

}  // namespace elasticlm::test
