// The numbers of a BERT-family encoder that decide its computation.
#pragma once

#include <cstdint>

namespace elasticlm {

struct EncoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_position_embeddings = 0;
  int64_t type_vocab_size = 0;
  float layer_norm_eps = 1e-12f;

  int64_t head_dim() const { return hidden_size / num_heads; }
  // Columns that one head's q | k | v take in the packed projection: 3 D, padded to whole blocks.
  int64_t qkv_head_columns() const { return (3 * head_dim() + 15) / 16 * 16; }
};

// Throws kConfigInvalid when a size is not positive, too large for 31-bit counts, or num_heads does not
// divide hidden_size into heads that are a multiple of 8 wide.
void validate(const EncoderConfig& config);

}  // namespace elasticlm
