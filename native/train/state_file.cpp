#include "train/state_file.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "core/status.h"
#include "model/output_file.h"
#include "model/printable.h"
#include "model/safetensors.h"
#include "model/safetensors_writer.h"

namespace elasticlm {
namespace {

constexpr const char* kFormatKey = "format";
constexpr const char* kFormat = "elasticlm-training-state-1";
constexpr const char* kUpdatesKey = "num_updates";
constexpr const char* kMetadataKey = "metadata";

// Counts up to here are exact in JavaScript's numbers.
constexpr int64_t kMaxUpdates = int64_t{1} << 53;

// One tensor of the file and its place in memory.
template <typename Set>
struct StatePart {
  std::string name;
  const ParameterSlot* slot = nullptr;
  Set* set = nullptr;
  bool may_be_negative = true;

  std::vector<int64_t> shape() const { return {slot->rows, slot->columns}; }
  size_t num_bytes() const { return static_cast<size_t>(slot->size()) * sizeof(float); }
};

// `State` holds parameters and moments, constant or not.
template <typename Set, typename State>
std::vector<StatePart<Set>> parts_of(const State& state) {
  std::vector<StatePart<Set>> parts;
  for (const ParameterSlot* const slot : state.parameters.layout().slots()) {
    parts.push_back({"parameters." + slot->name, slot, &state.parameters});
    parts.push_back({"first_moments." + slot->name, slot, &state.moments.first});
    parts.push_back({"second_moments." + slot->name, slot, &state.moments.second, false});
  }
  return parts;
}

[[noreturn]] void refuse(const std::string& path, const std::string& subject, const std::string& expected,
                         const std::string& received) {
  fail(ErrorCode::kCheckpointInvalid,
       {.expected = expected,
        .subject = subject + " of " + path,
        .received = received,
        .remedy = "Is this the training state of the same model, completely written?"});
}

const std::string& metadata_at(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) refuse(file.path(), "__metadata__", "the key " + quoted(key), "none");
  return found->second;
}

int64_t num_updates_of(const SafetensorsFile& file) {
  const std::string& text = metadata_at(file, kUpdatesKey);
  int64_t count = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const bool is_whole = error == std::errc() && end == text.data() + text.size();
  if (!is_whole || count < 0 || count > kMaxUpdates) {
    refuse(file.path(), quoted(kUpdatesKey), "a number of updates", quoted(text));
  }
  return count;
}

// Floats of a file lie at any address.
float float_at(const std::byte* data, int64_t i) {
  float value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

// The bytes of a part, its name, shape and every number judged.
const std::byte* checked_data(const SafetensorsFile& file, const StatePart<ParameterSet>& part) {
  const std::string subject = "tensor " + quoted(part.name);
  const auto entry = file.entries().find(part.name);
  if (entry == file.entries().end()) refuse(file.path(), subject, "F32 " + shape_text(part.shape()), "none");
  if (entry->second.dtype != "F32" || entry->second.shape != part.shape()) {
    refuse(file.path(), subject, "F32 " + shape_text(part.shape()),
           quoted(entry->second.dtype) + " " + shape_text(entry->second.shape));
  }
  const std::byte* const data = file.data(entry->second);
  for (int64_t i = 0; i < part.slot->size(); ++i) {
    const float value = float_at(data, i);
    if (std::isfinite(value) && (part.may_be_negative || value >= 0)) continue;
    refuse(file.path(), subject, part.may_be_negative ? "finite numbers" : "finite numbers of at least 0",
           std::to_string(value) + " at place " + std::to_string(i));
  }
  return data;
}

}  // namespace

void write_state_file(const TrainedState& state, const std::string& metadata, const std::string& path) {
  const auto parts = parts_of<const ParameterSet>(state);
  std::vector<TensorOutline> outlines;
  for (const auto& part : parts) outlines.push_back({part.name, "F32", part.shape(), part.num_bytes()});
  const SafetensorsOutline outline = lay_out_safetensors(
      outlines,
      {{kFormatKey, kFormat}, {kUpdatesKey, std::to_string(state.moments.step)}, {kMetadataKey, metadata}});
  OutputFile file(path);
  file.append(outline.header.data(), outline.header.size());
  for (const size_t i : outline.order) file.append(parts[i].set->at(*parts[i].slot), parts[i].num_bytes());
  file.commit();
}

std::string read_state_file(const std::string& path, const RestoredState& state) {
  const SafetensorsFile file(path);
  const std::string& format = metadata_at(file, kFormatKey);
  if (format != kFormat) refuse(path, quoted(kFormatKey), quoted(kFormat), quoted(format));
  const int64_t num_updates = num_updates_of(file);
  std::string metadata = metadata_at(file, kMetadataKey);

  const auto parts = parts_of<ParameterSet>(state);
  std::vector<const std::byte*> data;
  for (const auto& part : parts) data.push_back(checked_data(file, part));
  if (file.entries().size() != parts.size()) {
    refuse(path, "the tensors", std::to_string(parts.size()), std::to_string(file.entries().size()));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    std::memcpy(parts[i].set->at(*parts[i].slot), data[i], parts[i].num_bytes());
  }
  state.moments.step = num_updates;
  return metadata;
}

}  // namespace elasticlm
