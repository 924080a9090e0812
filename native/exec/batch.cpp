#include <limits>
#include <string>

#include "core/status.h"
#include "exec/encoder.h"

namespace elasticlm {
namespace {

[[noreturn]] void refuse(const std::string& expected, const std::string& subject,
                         const std::string& received) {
  fail(ErrorCode::kBatchInvalid,
       {.expected = expected, .subject = subject, .received = received, .remedy = ""});
}

std::string at(const char* name, size_t position) {
  return std::string(name) + "[" + std::to_string(position) + "]";
}

void check_length(const char* name, size_t length, size_t expected) {
  if (length != expected) refuse(std::to_string(expected) + " elements", name, std::to_string(length));
}

void check_ids(const char* name, std::span<const int32_t> ids, int64_t limit) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= limit) {
      refuse("an id from 0 to " + std::to_string(limit - 1), at(name, i), std::to_string(ids[i]));
    }
  }
}

}  // namespace

void validate(const Batch& batch, const EncoderConfig& config, int64_t num_structures) {
  if (batch.cu_seqlens.empty()) refuse("at least one element", "cu_seqlens", "none");
  if (batch.input_ids.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    refuse("fewer than 2^31 tokens", "input_ids", std::to_string(batch.input_ids.size()));
  }
  check_length("token_type_ids", batch.token_type_ids.size(), batch.input_ids.size());
  check_length("structure_idx", batch.structure_idx.size(), batch.cu_seqlens.size() - 1);
  if (batch.cu_seqlens.front() != 0)
    refuse("0", at("cu_seqlens", 0), std::to_string(batch.cu_seqlens.front()));
  for (size_t i = 1; i < batch.cu_seqlens.size(); ++i) {
    const int64_t previous = batch.cu_seqlens[i - 1];
    const int64_t length = batch.cu_seqlens[i] - previous;
    if (length < 1 || length > config.max_position_embeddings) {
      refuse("1 to " + std::to_string(config.max_position_embeddings) + " more than the " +
                 std::to_string(previous) + " before it",
             at("cu_seqlens", i), std::to_string(batch.cu_seqlens[i]));
    }
  }
  check_length("input_ids", batch.input_ids.size(), static_cast<size_t>(batch.cu_seqlens.back()));
  check_ids("input_ids", batch.input_ids, config.vocab_size);
  check_ids("token_type_ids", batch.token_type_ids, config.type_vocab_size);
  check_ids("structure_idx", batch.structure_idx, num_structures);
}

}  // namespace elasticlm
