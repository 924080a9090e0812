#include "exec/cuda/activations.h"

#include <algorithm>

#include "core/packed_matrix.h"
#include "kernels/cuda/records.h"
#include "kernels/cuda/small_forward.h"

namespace elasticlm::cuda {
namespace {

// Where a matrix may begin: more than the 128 bytes that TMA and vector loads want.
constexpr int64_t kAlignment = 256;

constexpr int64_t kFloatBytes = sizeof(float);

}  // namespace

bool Activations::fits(const PlanBounds& bounds, int64_t num_results) const {
  return bounds.num_rows <= bounds_.num_rows && bounds.num_sequences <= bounds_.num_sequences &&
         num_results * kFloatBytes <= results_.bytes();
}

void Activations::grow(const PlanBounds& bounds, int64_t num_results) {
  PlanBounds grown = {std::max(bounds.num_rows, bounds_.num_rows),
                      std::max(bounds.num_sequences, bounds_.num_sequences)};
  bounds_ = {};
  const EncoderConfig& config = weights_.config();
  const int64_t E = config.hidden_size;
  const int64_t element_bytes = dtype_bytes(weights_.dtype);

  // First offsets alone, then addresses.
  int64_t end = 0;
  const auto place = [&](int64_t& cursor, int64_t rows, int64_t columns) {
    const int64_t begin = cursor;
    cursor = round_up(cursor + rows * columns * element_bytes, kAlignment);
    end = std::max(end, cursor);
    return begin;
  };
  const int64_t ffn_columns = round_up(config.intermediate_size, kRowBlock);
  const int64_t label_columns = round_up(weights_.outline.num_labels, kRowBlock);
  int64_t cursor = 0;
  const int64_t hidden = place(cursor, grown.num_rows, E);
  const int64_t first_rows = place(cursor, grown.num_sequences, E);
  const int64_t pooler = place(cursor, grown.num_sequences, E);
  const int64_t logits = place(cursor, grown.num_sequences, label_columns);
  const int64_t small_rows = std::min(grown.num_rows, kSmallForwardTokens);
  const int64_t small_spare = place(cursor, small_rows, E);
  const int64_t small_sums = place(cursor, small_rows, E);
  int64_t ffn_cursor = cursor;
  const int64_t qkv = place(cursor, grown.num_rows, 3 * E);
  const int64_t context = place(cursor, grown.num_rows, E);
  const int64_t ffn = place(ffn_cursor, grown.num_rows, ffn_columns);
  if (memory_.bytes() < end) memory_.allocate(end);
  if (results_.bytes() < num_results * kFloatBytes) results_.allocate(num_results * kFloatBytes);

  const auto matrix = [&](int64_t offset, int64_t rows, int64_t columns) {
    DeviceMatrix made;
    made.data = memory_.data() + offset;
    made.rows = rows;
    made.columns = columns;
    made.ld = columns;
    return columns == 0 ? made : with_tensor_maps(made, weights_.dtype, device_);
  };
  matrices_.hidden = matrix(hidden, grown.num_rows, E);
  matrices_.qkv = matrix(qkv, grown.num_rows, 3 * E);
  matrices_.context = matrix(context, grown.num_rows, E);
  matrices_.ffn = matrix(ffn, grown.num_rows, ffn_columns);
  matrices_.first_rows = matrix(first_rows, grown.num_sequences, E);
  matrices_.pooler = matrix(pooler, grown.num_sequences, E);
  matrices_.logits = matrix(logits, grown.num_sequences, label_columns);
  matrices_.small_spare = memory_.data() + small_spare;
  matrices_.small_sums = memory_.data() + small_sums;
  matrices_.results = reinterpret_cast<float*>(results_.data());
  bounds_ = grown;
}

}  // namespace elasticlm::cuda
