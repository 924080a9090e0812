// Reads one or more safetensors files through memory maps. Every byte of a header is treated as hostile:
// nothing is trusted before it has been checked against the file's size.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor_view.h"

namespace elasticlm {

class SafetensorsFile {
 public:
  // A tensor as the header lists it, dtype not yet judged: checkpoints may hold integer tensors that nobody
  // reads.
  struct Entry {
    std::string dtype;  // "F32", "I64", …
    std::vector<int64_t> shape;
    uint64_t begin = 0;  // bytes into the data section
    uint64_t end = 0;
  };

  // Maps and checks the file. Throws kFileNotFound, kFileUnreadable, kCheckpointInvalid, kMemoryExhausted.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::string& path() const;
  const std::map<std::string, Entry>& entries() const;
  const std::map<std::string, std::string>& metadata() const;
  const std::byte* data(const Entry& entry) const;

 private:
  struct Map;
  std::unique_ptr<Map> map_;
};

// Checks a header (the bytes after the 8-byte length) against the size of the data section that follows it;
// the part that the fuzzer drives. Throws kCheckpointInvalid naming `path`.
struct SafetensorsHeader {
  std::map<std::string, SafetensorsFile::Entry> entries;
  std::map<std::string, std::string> metadata;
};
SafetensorsHeader parse_safetensors_header(const char* text, size_t size, uint64_t data_bytes,
                                           const std::string& path);

// Bits of one element of a dtype of the format ("F4" has 4); 0 for a name the format does not know.
uint64_t safetensors_dtype_bits(std::string_view dtype);

// What the tensors of an encoder begin with in the checkpoint of a model that has a head.
inline constexpr std::string_view kModelPrefix = "bert.";

// All files of a checkpoint as one set of tensors.
class Checkpoint {
 public:
  // Throws what SafetensorsFile throws, and kCheckpointInvalid for no file or a tensor that two files hold.
  explicit Checkpoint(const std::vector<std::string>& paths);

  // The tensor `name`, with or without a leading "bert."; LayerNorm.weight and .bias may also be called gamma
  // and beta. Throws kCheckpointInvalid (more than one of these names), kTensorMissing, kTensorShapeMismatch
  // (another shape than `shape`), kDtypeUnsupported (not F32, F16 or BF16). The view lives as long as the
  // checkpoint.
  TensorView tensor(const std::string& name, const std::vector<int64_t>& shape) const;
  bool has(const std::string& name) const;
  // As the header lists it. Throws kCheckpointInvalid, kTensorMissing.
  std::vector<int64_t> shape(const std::string& name) const;
  // Names every file once, for messages.
  std::string describe() const;
  const std::vector<SafetensorsFile>& files() const { return files_; }

 private:
  struct Found {
    const SafetensorsFile* file = nullptr;
    const SafetensorsFile::Entry* entry = nullptr;
  };
  Found find(const std::string& name) const;
  Found require(const std::string& name) const;
  std::vector<SafetensorsFile> files_;
};

}  // namespace elasticlm
