#include "test/checkpoint_files.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

#include "test/check.h"

namespace elasticlm::test {
namespace {

std::string quoted_json(const std::string& text) {
  std::string quoted = "\"";
  quoted += text;
  return quoted += '"';
}

void append_bytes(std::string& bytes, const void* value, size_t size) {
  bytes.append(static_cast<const char*>(value), size);
}

std::string stored_bytes(const std::vector<float>& values, DType dtype) {
  std::string bytes;
  for (const float value : values) {
    if (dtype == DType::kF32) {
      append_bytes(bytes, &value, sizeof value);
    } else {
      const uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      append_bytes(bytes, &bits, sizeof bits);
    }
  }
  return bytes;
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) {
    if (!text.empty()) text += ',';
    text += item;
  }
  return text;
}

class TensorMaker {
 public:
  explicit TensorMaker(uint64_t seed) : generator_(seed) {}

  void add(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    StoredValues tensor{name, shape, std::vector<float>(static_cast<size_t>(count))};
    for (float& value : tensor.values)
      value = static_cast<float>(static_cast<int>(generator_() % 255) - 127) / 64.0f;
    tensors_.push_back(std::move(tensor));
  }
  void add_pair(const std::string& name, const std::vector<int64_t>& weight_shape) {
    add(name + ".weight", weight_shape);
    add(name + ".bias", {weight_shape[0]});
  }
  std::vector<StoredValues> take() { return std::move(tensors_); }

 private:
  std::mt19937_64 generator_;
  std::vector<StoredValues> tensors_;
};

}  // namespace

TemporaryFolder::TemporaryFolder() {
  path_ = (std::filesystem::temp_directory_path() / "elasticlm-test-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary folder: " + path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryFolder::names() const {
  std::vector<std::string> names;
  for (const auto& item : std::filesystem::directory_iterator(path_))
    names.push_back(item.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string file_with_header(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) {
    bytes += static_cast<char>(static_cast<uint64_t>(header.size()) >> shift & 0xff);
  }
  return bytes + header + data;
}

std::string safetensors_bytes(const std::vector<StoredValues>& tensors, DType dtype,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  std::vector<std::string> pairs;
  for (const auto& [key, value] : metadata) pairs.push_back(quoted_json(key) + ":" + quoted_json(value));
  if (!pairs.empty()) members.push_back(quoted_json("__metadata__") + ":{" + joined(pairs) + "}");
  std::string data;
  for (const StoredValues& tensor : tensors) {
    std::vector<std::string> sizes;
    for (const int64_t size : tensor.shape) sizes.push_back(std::to_string(size));
    const size_t begin = data.size();
    data += stored_bytes(tensor.values, dtype);
    members.push_back(quoted_json(tensor.name) + ":{\"dtype\":" + quoted_json(dtype_name(dtype)) +
                      ",\"shape\":[" + joined(sizes) + "],\"data_offsets\":[" + std::to_string(begin) + "," +
                      std::to_string(data.size()) + "]}");
  }
  return file_with_header("{" + joined(members) + "}", data);
}

std::vector<StoredValues> encoder_tensors(const EncoderConfig& config, const EncoderTensorOptions& options) {
  const int64_t E = config.hidden_size;
  const int64_t F = config.intermediate_size;
  TensorMaker maker(options.seed);
  const std::string embeddings = options.prefix + "embeddings.";
  maker.add(embeddings + "word_embeddings.weight", {config.vocab_size, E});
  maker.add(embeddings + "position_embeddings.weight", {config.max_position_embeddings, E});
  maker.add(embeddings + "token_type_embeddings.weight", {config.type_vocab_size, E});
  maker.add_pair(embeddings + "LayerNorm", {E});
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const std::string layer = options.prefix + "encoder.layer." + std::to_string(l) + ".";
    for (const char* part : {"query", "key", "value"})
      maker.add_pair(layer + "attention.self." + part, {E, E});
    maker.add_pair(layer + "attention.output.dense", {E, E});
    maker.add_pair(layer + "attention.output.LayerNorm", {E});
    maker.add_pair(layer + "intermediate.dense", {F, E});
    maker.add_pair(layer + "output.dense", {E, F});
    maker.add_pair(layer + "output.LayerNorm", {E});
  }
  if (options.pooler) maker.add_pair(options.prefix + "pooler.dense", {E, E});
  if (options.num_labels > 0) maker.add_pair("classifier", {options.num_labels, E});
  return maker.take();
}

const StoredValues& tensor_named(const std::vector<StoredValues>& tensors, const std::string& name) {
  for (const StoredValues& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::out_of_range("no tensor " + name);
}

EncoderConfig small_config() {
  return {.vocab_size = 11,
          .hidden_size = 16,
          .num_layers = 2,
          .num_heads = 2,
          .intermediate_size = 24,
          .max_position_embeddings = 7,
          .type_vocab_size = 2,
          .layer_norm_eps = 1e-12f};
}

void check_throws(const std::string& label, ErrorCode code, const std::string& wording,
                  const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.code() == code, label + ": threw " + error_code_name(error.code()) + " instead of " +
                                    error_code_name(code) + ": " + error.what());
    CHECK(std::string(error.what()).find(wording) != std::string::npos,
          label + ": expected \"" + wording + "\" in the message: " + error.what());
    return;
  }
  CHECK(false, label + ": nothing was thrown");
}

}  // namespace elasticlm::test
