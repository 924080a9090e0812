#include "model/safetensors_writer.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

namespace elasticlm {
namespace {

// `text` as a JSON string. It is UTF-8 already, since it was read from a header.
std::string json_string(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
    } else {
      out += c;
    }
  }
  return out + '"';
}

// Room for one more item of a JSON list.
std::string& separated(std::string& list) {
  if (!list.empty()) list += ',';
  return list;
}

std::string entry_json(const SafetensorsFile::Entry& entry, uint64_t begin) {
  std::string shape;
  for (const int64_t size : entry.shape) separated(shape) += std::to_string(size);
  return "{\"dtype\":" + json_string(entry.dtype) + ",\"shape\":[" + shape + "],\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(begin + entry.end - entry.begin) + "]}";
}

}  // namespace

SafetensorsLayout lay_out_safetensors(const Checkpoint& checkpoint,
                                      const std::map<std::string, std::string>& metadata) {
  constexpr size_t kLengthBytes = 8;
  SafetensorsLayout layout;
  for (const SafetensorsFile& file : checkpoint.files()) {
    for (const auto& [name, entry] : file.entries()) layout.tensors.push_back({&name, &file, &entry});
  }
  std::sort(layout.tensors.begin(), layout.tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    const uint64_t a_bits = safetensors_dtype_bits(a.entry->dtype);
    const uint64_t b_bits = safetensors_dtype_bits(b.entry->dtype);
    return a_bits != b_bits ? a_bits > b_bits : *a.name < *b.name;
  });

  std::string members;
  const auto add = [&](std::string_view name, const std::string& value) {
    separated(members) += json_string(name) + ":" + value;
  };
  if (!metadata.empty()) {
    std::string pairs;
    for (const auto& [key, value] : metadata) {
      separated(pairs) += json_string(key) + ":" + json_string(value);
    }
    add("__metadata__", "{" + pairs + "}");
  }
  uint64_t begin = 0;
  for (const StoredTensor& stored : layout.tensors) {
    add(*stored.name, entry_json(*stored.entry, begin));
    begin += stored.entry->end - stored.entry->begin;
  }

  std::string json = "{" + members + "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  layout.header.resize(kLengthBytes);
  for (size_t i = 0; i < kLengthBytes; ++i) {
    layout.header[i] = static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i) & 0xff);
  }
  layout.header += json;
  return layout;
}

}  // namespace elasticlm
