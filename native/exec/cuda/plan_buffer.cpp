#include "exec/cuda/plan_buffer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "core/packed_matrix.h"

namespace elasticlm::cuda {
namespace {

// Sections begin at the lines that L2 and a warp's loads have.
constexpr int64_t kAlignment = 128;
// Structures in one batch that the first buffer has room for: more than the levels that models are published
// with. Each costs 5 records for each layer, about 1 KB for twelve.
constexpr int64_t kLeastStructures = 8;

template <typename T>
void put(std::byte* section, const std::vector<T>& records) {
  if (!records.empty()) std::memcpy(section, records.data(), records.size() * sizeof(T));
}

}  // namespace

int64_t PlanBounds::num_attention_tiles() const {
  // Every sequence may end in a partial tile, down to one row.
  const int64_t tiles = (num_rows + (kAttentionQueries - 1) * num_sequences) / kAttentionQueries;
  return std::min(tiles, num_rows);
}

// Bytes from the start of the buffer, in this order. What most plans leave short or empty stands last, so
// that the copy ends early.
struct PlanBuffer::Offsets {
  int64_t header = 0;
  int64_t barrier = 0;
  int64_t linear_steps = 0;
  int64_t attention_steps = 0;
  int64_t linear_groups = 0;
  int64_t attention_groups = 0;
  int64_t sequences = 0;
  int64_t sequence_positions = 0;
  int64_t input_ids = 0;
  int64_t position_ids = 0;
  int64_t token_type_ids = 0;
  int64_t batch_rows = 0;
  int64_t attention_tiles = 0;
  int64_t row_blocks = 0;

  // Up to the last record of `plan`.
  int64_t used_bytes(const DevicePlan& plan) const {
    if (!plan.row_blocks.empty()) return row_blocks + std::ssize(plan.row_blocks) * int64_t{sizeof(int32_t)};
    return attention_tiles + std::ssize(plan.attention_tiles) * int64_t{sizeof(AttentionTile)};
  }
};

PlanBuffer::PlanBuffer(const EncoderConfig& config) : config_(config), num_structures_(kLeastStructures) {}

PlanBuffer::Offsets PlanBuffer::offsets(const PlanBounds& bounds) const {
  int64_t end = 0;
  const auto place = [&end](int64_t count, size_t record_bytes) {
    const int64_t begin = end;
    end = round_up(end + count * static_cast<int64_t>(record_bytes), kAlignment);
    return begin;
  };
  const int64_t num_layers = config_.num_layers;
  Offsets offsets;
  offsets.header = place(1, sizeof(PlanHeader));
  offsets.barrier = place(1, sizeof(uint32_t));
  offsets.linear_steps = place(num_linear_steps(config_), sizeof(LinearStep));
  offsets.attention_steps = place(num_layers, sizeof(AttentionStep));
  offsets.linear_groups =
      place(num_layers * kLayerLinears * num_structures_ + kHeadLinears, sizeof(LinearGroup));
  offsets.attention_groups = place(num_layers * num_structures_, sizeof(AttentionGroup));
  offsets.sequences = place(bounds.num_sequences, sizeof(SequenceRecord));
  offsets.sequence_positions = place(bounds.num_sequences, sizeof(int32_t));
  offsets.input_ids = place(bounds.num_rows, sizeof(int32_t));
  offsets.position_ids = place(bounds.num_rows, sizeof(int32_t));
  offsets.token_type_ids = place(bounds.num_rows, sizeof(int32_t));
  offsets.batch_rows = place(bounds.num_rows, sizeof(int32_t));
  offsets.attention_tiles = place(bounds.num_attention_tiles(), sizeof(AttentionTile));
  offsets.row_blocks = end;
  return offsets;
}

bool PlanBuffer::fits(const DevicePlan& plan, const PlanBounds& bounds) const {
  return plan.num_structures <= num_structures_ &&
         offsets(bounds).used_bytes(plan) <= std::min(device_.bytes(), staging_.bytes());
}

void PlanBuffer::grow(const DevicePlan& plan, const PlanBounds& bounds) {
  if (plan.num_structures > num_structures_) {
    num_structures_ = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(plan.num_structures)));
  }
  const int64_t bytes = std::max(offsets(bounds).used_bytes(plan), 2 * device_.bytes());
  device_.allocate(bytes);
  staging_.allocate(bytes);
}

PlanAddresses PlanBuffer::addresses(const PlanBounds& bounds) const {
  const Offsets at = offsets(bounds);
  const auto section = [this]<typename T>(const T*& address, int64_t offset) {
    address = reinterpret_cast<const T*>(device_.data() + offset);
  };
  PlanAddresses addresses;
  section(addresses.header, at.header);
  addresses.barrier = reinterpret_cast<uint32_t*>(device_.data() + at.barrier);
  section(addresses.linear_steps, at.linear_steps);
  section(addresses.linear_groups, at.linear_groups);
  section(addresses.attention_steps, at.attention_steps);
  section(addresses.attention_groups, at.attention_groups);
  section(addresses.attention_tiles, at.attention_tiles);
  section(addresses.row_blocks, at.row_blocks);
  section(addresses.sequences, at.sequences);
  section(addresses.sequence_positions, at.sequence_positions);
  section(addresses.input_ids, at.input_ids);
  section(addresses.position_ids, at.position_ids);
  section(addresses.token_type_ids, at.token_type_ids);
  section(addresses.batch_rows, at.batch_rows);
  return addresses;
}

void PlanBuffer::upload(const DevicePlan& plan, const PlanBounds& bounds, const Batch& batch,
                        cudaStream_t stream) {
  const Offsets at = offsets(bounds);
  std::byte* const staging = staging_.data();
  std::memcpy(staging + at.header, &plan.header, sizeof plan.header);
  std::memset(staging + at.barrier, 0, sizeof(uint32_t));
  put(staging + at.linear_steps, plan.linear_steps);
  put(staging + at.linear_groups, plan.linear_groups);
  put(staging + at.attention_steps, plan.attention_steps);
  put(staging + at.attention_groups, plan.attention_groups);
  put(staging + at.attention_tiles, plan.attention_tiles);
  put(staging + at.row_blocks, plan.row_blocks);
  put(staging + at.sequences, plan.sequences);
  put(staging + at.sequence_positions, plan.sequence_positions);
  put(staging + at.position_ids, plan.position_ids);
  put(staging + at.batch_rows, plan.batch_rows);
  auto* input_ids = reinterpret_cast<int32_t*>(staging + at.input_ids);
  auto* token_type_ids = reinterpret_cast<int32_t*>(staging + at.token_type_ids);
  for (const SequenceRecord& sequence : plan.sequences) {
    const int32_t first = batch.cu_seqlens[static_cast<size_t>(sequence.position)];
    input_ids = std::copy_n(batch.input_ids.begin() + first, sequence.num_rows, input_ids);
    token_type_ids = std::copy_n(batch.token_type_ids.begin() + first, sequence.num_rows, token_type_ids);
  }
  check(cudaMemcpyAsync(device_.data(), staging, static_cast<size_t>(at.used_bytes(plan)),
                        cudaMemcpyHostToDevice, stream),
        "to receive a plan");
}

}  // namespace elasticlm::cuda
