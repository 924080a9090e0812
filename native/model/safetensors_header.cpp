// The header's grammar and the rules that tie it to the size of the data section.
#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "core/status.h"
#include "model/json_reader.h"
#include "model/printable.h"
#include "model/safetensors.h"

namespace elasticlm {
namespace {

using Entry = SafetensorsFile::Entry;

struct FormatDtype {
  std::string_view name;
  uint64_t bits;
};

// Every dtype of the format, also those no encoder uses: their extent in the file has to be checked all the
// same.
constexpr FormatDtype kFormatDtypes[] = {
    {"BOOL", 8},        {"U8", 8},      {"I8", 8},      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E5M2FNUZ", 8},
    {"F8_E4M3FNUZ", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"I64", 64},    {"U64", 64},    {"F64", 64},
    {"C64", 64},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},
};

// No framework has tensors of more dimensions (PyTorch and NumPy: 64). Without a bound, one shape of a
// hostile header could take four times the header's own size in memory.
constexpr size_t kMaxRank = 64;

std::string tensor_in(const std::string& name, const std::string& path) {
  return "tensor " + quoted(name) + " of " + path;
}

[[noreturn]] void refuse(const std::string& subject, const std::string& expected,
                         const std::string& received) {
  fail(ErrorCode::kCheckpointInvalid,
       {.expected = expected, .subject = subject, .received = received, .remedy = ""});
}

std::string range_text(const Entry& entry) {
  return "bytes [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ")";
}

// The dtype's bits times the product of the shape, in bytes; none when it overflows or is no whole number of
// bytes.
std::optional<uint64_t> tensor_bytes(const std::vector<int64_t>& shape, uint64_t bits) {
  uint64_t total = bits;
  for (const int64_t size : shape) {
    const uint64_t factor = static_cast<uint64_t>(size);
    if (factor != 0 && total > std::numeric_limits<uint64_t>::max() / factor) return std::nullopt;
    total *= factor;
  }
  if (total % 8 != 0) return std::nullopt;
  return total / 8;
}

void check_entry(const std::string& name, const Entry& entry, uint64_t data_bytes, const std::string& path) {
  if (entry.begin > entry.end || entry.end > data_bytes) {
    refuse("data_offsets of " + tensor_in(name, path), "begin <= end <= " + std::to_string(data_bytes),
           range_text(entry));
  }
  const uint64_t bits = safetensors_dtype_bits(entry.dtype);
  if (bits == 0) {
    refuse("dtype of " + tensor_in(name, path), "a dtype of the safetensors format", quoted(entry.dtype));
  }
  const std::optional<uint64_t> bytes = tensor_bytes(entry.shape, bits);
  if (!bytes) {
    refuse("shape of " + tensor_in(name, path), "a whole number of bytes below 2^61",
           entry.dtype + " " + shape_text(entry.shape));
  }
  if (*bytes != entry.end - entry.begin) {
    refuse("data_offsets of " + tensor_in(name, path),
           std::to_string(*bytes) + " bytes for " + entry.dtype + " " + shape_text(entry.shape),
           std::to_string(entry.end - entry.begin));
  }
}

// The format demands that tensors cover the data section from end to end, each byte once.
void check_cover(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& path) {
  std::vector<const std::pair<const std::string, Entry>*> sorted;
  sorted.reserve(header.entries.size());
  for (const auto& named : header.entries) sorted.push_back(&named);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  const std::string* previous = nullptr;
  for (const auto* named : sorted) {
    const auto& [name, entry] = *named;
    if (entry.begin != covered) {
      const std::string neighbour =
          previous ? "the end of tensor " + quoted(*previous) : "the start of the data";
      refuse("data_offsets of " + tensor_in(name, path),
             "begin = " + std::to_string(covered) + ", " + neighbour + ",",
             range_text(entry) + (entry.begin < covered ? ", which overlaps it" : ", which leaves a hole"));
    }
    covered = entry.end;
    previous = &name;
  }
  if (covered != data_bytes) {
    const std::string last = previous ? "tensor " + quoted(*previous) : "no tensor";
    refuse("the data of " + path, std::to_string(data_bytes) + " bytes, all belonging to tensors,",
           std::to_string(covered) + " bytes, up to the end of " + last);
  }
}

class HeaderReader {
 public:
  HeaderReader(const char* text, size_t size, const std::string& path)
      : json_(text, size, "the header of " + path), path_(path) {}

  SafetensorsHeader read() {
    json_.enter_object();
    std::string name;
    while (json_.next_member(name)) {
      if (name == "__metadata__") {
        read_metadata();
        continue;
      }
      Entry entry = read_entry(name);
      if (!header_.entries.try_emplace(name, std::move(entry)).second) {
        refuse(tensor_in(name, path_), "one entry", "two entries");
      }
    }
    json_.finish();
    return std::move(header_);
  }

 private:
  void read_metadata() {
    if (std::exchange(has_metadata_, true)) refuse("__metadata__ of " + path_, "one entry", "two entries");
    json_.enter_object();
    std::string key;
    while (json_.next_member(key)) {
      if (!header_.metadata.try_emplace(key, json_.string()).second) {
        refuse("__metadata__ of " + path_, "one value for the key " + quoted(key), "two values");
      }
    }
  }

  Entry read_entry(const std::string& name) {
    Entry entry;
    bool has_dtype = false;
    bool has_shape = false;
    bool has_offsets = false;
    const auto once = [&](bool& seen, const char* field) {
      if (std::exchange(seen, true)) refuse(tensor_in(name, path_), std::string("one ") + field, "two");
    };
    json_.enter_object();
    std::string field;
    while (json_.next_member(field)) {
      if (field == "dtype") {
        once(has_dtype, "dtype");
        entry.dtype = json_.string();
      } else if (field == "shape") {
        once(has_shape, "shape");
        json_.enter_array();
        while (json_.next_element()) {
          if (entry.shape.size() == kMaxRank)
            json_.refuse("at most " + std::to_string(kMaxRank) + " dimensions");
          entry.shape.push_back(json_.count());
        }
      } else if (field == "data_offsets") {
        once(has_offsets, "data_offsets");
        read_offsets(entry);
      } else {
        refuse(tensor_in(name, path_), "dtype, shape and data_offsets", "the field " + quoted(field));
      }
    }
    if (!has_dtype || !has_shape || !has_offsets) {
      refuse(tensor_in(name, path_), "dtype, shape and data_offsets",
             std::string("no ") + (!has_dtype   ? "dtype"
                                   : !has_shape ? "shape"
                                                : "data_offsets"));
    }
    return entry;
  }

  void read_offsets(Entry& entry) {
    json_.enter_array();
    if (!json_.next_element()) json_.refuse("two offsets");
    entry.begin = static_cast<uint64_t>(json_.count());
    if (!json_.next_element()) json_.refuse("two offsets");
    entry.end = static_cast<uint64_t>(json_.count());
    if (json_.next_element()) json_.refuse("two offsets");
  }

  JsonReader json_;
  const std::string& path_;
  SafetensorsHeader header_;
  bool has_metadata_ = false;
};

}  // namespace

uint64_t safetensors_dtype_bits(std::string_view dtype) {
  for (const FormatDtype& known : kFormatDtypes) {
    if (known.name == dtype) return known.bits;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(const char* text, size_t size, uint64_t data_bytes,
                                           const std::string& path) {
  if (size == 0 || text[0] != '{') {
    refuse("the header of " + path, "an object, beginning with \"{\",",
           size == 0 ? "nothing" : quoted({text, 1}));
  }
  SafetensorsHeader header = HeaderReader(text, size, path).read();
  for (const auto& [name, entry] : header.entries) check_entry(name, entry, data_bytes, path);
  check_cover(header, data_bytes, path);
  return header;
}

}  // namespace elasticlm
