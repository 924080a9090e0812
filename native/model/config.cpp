#include "model/config.h"

#include <cmath>
#include <limits>
#include <string>

#include "core/status.h"

namespace elasticlm {
namespace {

// Ids, positions and counts cross to JavaScript and to kernels as int32.
constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();
// The deepest published encoders have under 200 layers; the bound keeps per-layer records of a hostile config
// small.
constexpr int64_t kMaxLayers = 4096;
// Keeps every element and byte count of one matrix far inside 64 bits. 2^40 f32 are 4 TiB.
constexpr int64_t kMaxMatrixElements = int64_t{1} << 40;

void check_count(const char* name, int64_t value, int64_t limit) {
  if (value >= 1 && value <= limit) return;
  fail(ErrorCode::kConfigInvalid, {.expected = "a whole number from 1 to " + std::to_string(limit),
                                   .subject = name,
                                   .received = std::to_string(value),
                                   .remedy = "Check config.json"});
}

// Both factors have passed check_count, so their product fits.
void check_product(const char* name, int64_t rows, int64_t columns, int64_t limit) {
  if (rows * columns <= limit) return;
  fail(ErrorCode::kConfigInvalid, {.expected = "at most " + std::to_string(limit),
                                   .subject = name,
                                   .received = std::to_string(rows) + " x " + std::to_string(columns),
                                   .remedy = "Check config.json"});
}

}  // namespace

void validate(const EncoderConfig& config) {
  check_count("vocab_size", config.vocab_size, kMaxCount);
  check_count("hidden_size", config.hidden_size, kMaxCount);
  check_count("num_hidden_layers", config.num_layers, kMaxLayers);
  check_count("num_attention_heads", config.num_heads, kMaxCount);
  check_count("intermediate_size", config.intermediate_size, kMaxCount);
  check_count("max_position_embeddings", config.max_position_embeddings, kMaxCount);
  check_count("type_vocab_size", config.type_vocab_size, kMaxCount);
  if (config.hidden_size % config.num_heads != 0 || config.head_dim() % 8 != 0) {
    fail(ErrorCode::kConfigInvalid,
         {.expected = "hidden_size to be num_attention_heads times a multiple of 8",
          .subject = "hidden_size",
          .received =
              std::to_string(config.hidden_size) + " for " + std::to_string(config.num_heads) + " heads",
          .remedy = "Check config.json"});
  }
  if (!(std::isfinite(config.layer_norm_eps) && config.layer_norm_eps > 0)) {
    fail(ErrorCode::kConfigInvalid, {.expected = "a positive finite number",
                                     .subject = "layer_norm_eps",
                                     .received = std::to_string(config.layer_norm_eps),
                                     .remedy = "Check config.json"});
  }
  check_product("heads of all layers", config.num_layers, config.num_heads, kMaxCount);
  check_product("neurons of all layers", config.num_layers, config.intermediate_size, kMaxCount);
  check_product("columns of the packed query, key and value projection", config.num_heads,
                config.qkv_head_columns(), kMaxCount);
  check_product("elements of the word embeddings", config.vocab_size, config.hidden_size, kMaxMatrixElements);
  check_product("elements of the position embeddings", config.max_position_embeddings, config.hidden_size,
                kMaxMatrixElements);
  check_product("elements of the token type embeddings", config.type_vocab_size, config.hidden_size,
                kMaxMatrixElements);
  check_product("elements of the packed query, key and value projection",
                config.num_heads * config.qkv_head_columns(), config.hidden_size, kMaxMatrixElements);
  check_product("elements of a feed-forward projection", config.intermediate_size, config.hidden_size,
                kMaxMatrixElements);
}

}  // namespace elasticlm
