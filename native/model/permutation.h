// Rewrites a checkpoint with each layer's heads and neurons in a new order, so that SubLMs become prefixes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace elasticlm {

struct Permutation {
  std::vector<std::vector<int32_t>>
      heads;  // [L][H]: heads[l][i] is the old place of the head that moves to place i
  std::vector<std::vector<int32_t>> neurons;  // [L][F]: likewise
};

// Throws kStructureInvalid unless every list is a permutation of its range.
void validate(const Permutation& permutation, const EncoderConfig& config);

// Writes every tensor of `paths` to the one file `output` in its own dtype and name, with Q/K/V rows and
// biases, W_O columns, FFN-up rows and bias, and FFN-down columns reordered. Written beside and renamed into
// place, so that a failure leaves no half file. Throws what Checkpoint throws, and kFileUnwritable (disk full
// included).
void write_permuted_checkpoint(const EncoderConfig& config, const std::vector<std::string>& paths,
                               const Permutation& permutation, const std::string& output);

// Norms of the outgoing weights, for label-free importance: for each layer and head the Frobenius norm of the
// head's D columns of W_O, [L * H], and for each layer and neuron the norm of its FFN-down column, [L * F].
struct OutgoingNorms {
  std::vector<double> heads;
  std::vector<double> neurons;
};
OutgoingNorms outgoing_norms(const EncoderConfig& config, const std::vector<std::string>& paths);

}  // namespace elasticlm
