#include "model/safetensors_writer.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <utility>

namespace elasticlm {
namespace {

// `text`, which is UTF-8, as a JSON string.
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

std::string entry_json(const TensorOutline& tensor, uint64_t begin) {
  std::string shape;
  for (const int64_t size : tensor.shape) separated(shape) += std::to_string(size);
  return "{\"dtype\":" + json_string(tensor.dtype) + ",\"shape\":[" + shape + "],\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(begin + tensor.num_bytes) + "]}";
}

std::vector<size_t> file_order(std::span<const TensorOutline> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const uint64_t a_bits = safetensors_dtype_bits(tensors[a].dtype);
    const uint64_t b_bits = safetensors_dtype_bits(tensors[b].dtype);
    return a_bits != b_bits ? a_bits > b_bits : tensors[a].name < tensors[b].name;
  });
  return order;
}

}  // namespace

SafetensorsOutline lay_out_safetensors(std::span<const TensorOutline> tensors,
                                       const std::map<std::string, std::string>& metadata) {
  constexpr size_t kLengthBytes = 8;
  SafetensorsOutline outline{.header = std::string(kLengthBytes, '\0'), .order = file_order(tensors)};
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
  for (const size_t i : outline.order) {
    add(tensors[i].name, entry_json(tensors[i], begin));
    begin += tensors[i].num_bytes;
  }

  std::string json = "{" + members + "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  for (size_t i = 0; i < kLengthBytes; ++i) {
    outline.header[i] = static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i) & 0xff);
  }
  outline.header += json;
  return outline;
}

SafetensorsLayout lay_out_safetensors(const Checkpoint& checkpoint,
                                      const std::map<std::string, std::string>& metadata) {
  std::vector<StoredTensor> stored;
  std::vector<TensorOutline> outlines;
  for (const SafetensorsFile& file : checkpoint.files()) {
    for (const auto& [name, entry] : file.entries()) {
      stored.push_back({&name, &file, &entry});
      outlines.push_back({name, entry.dtype, entry.shape, entry.end - entry.begin});
    }
  }
  SafetensorsOutline outline = lay_out_safetensors(outlines, metadata);
  SafetensorsLayout layout{.header = std::move(outline.header), .tensors = {}};
  for (const size_t i : outline.order) layout.tensors.push_back(stored[i]);
  return layout;
}

}  // namespace elasticlm
