#include "model/safetensors.h"

#include <new>
#include <utility>

#include "core/mapped_file.h"
#include "core/status.h"
#include "model/printable.h"

namespace elasticlm {
namespace {

constexpr uint64_t kLengthBytes = 8;
// The reference reader's limit. A BERT-base header takes about 20 KB.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

[[noreturn]] void refuse(const std::string& subject, const std::string& expected,
                         const std::string& received) {
  fail(ErrorCode::kCheckpointInvalid, {.expected = expected,
                                       .subject = subject,
                                       .received = received,
                                       .remedy = "Is this a safetensors file, completely copied?"});
}

// The header's length: the first 8 bytes, little-endian.
uint64_t header_length(const MappedFile& file, const std::string& path) {
  if (file.size() < kLengthBytes) {
    refuse(path, "at least 8 bytes",
           file.size() == 0 ? "an empty file" : "a file of " + std::to_string(file.size()) + " bytes");
  }
  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file.data()[i]) << (8 * i);
  if (length > kMaxHeaderBytes) {
    refuse("the header length of " + path, "at most " + std::to_string(kMaxHeaderBytes) + " bytes",
           std::to_string(length));
  }
  if (length > file.size() - kLengthBytes) {
    refuse("the header length of " + path,
           "at most the " + std::to_string(file.size() - kLengthBytes) + " bytes that follow it",
           std::to_string(length));
  }
  return length;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// What `name` may be called in a checkpoint: with or without the prefix of a model with a head, and for
// LayerNorm also by the names of checkpoints converted from TensorFlow.
std::vector<std::string> spellings(const std::string& name) {
  std::vector<std::string> plain = {name};
  if (ends_with(name, "LayerNorm.weight")) plain.push_back(name.substr(0, name.size() - 6) + "gamma");
  if (ends_with(name, "LayerNorm.bias")) plain.push_back(name.substr(0, name.size() - 4) + "beta");
  std::vector<std::string> all = plain;
  for (const std::string& one : plain) all.push_back(std::string(kModelPrefix) + one);
  return all;
}

DType readable_dtype(const std::string& name, const std::string& dtype, const std::string& path) {
  for (const DType known : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (dtype == dtype_name(known)) return known;
  }
  fail(ErrorCode::kDtypeUnsupported, {.expected = "F32, F16 or BF16",
                                      .subject = "the dtype of tensor " + quoted(name) + " of " + path,
                                      .received = dtype,
                                      .remedy = "Convert the checkpoint to one of these dtypes"});
}

}  // namespace

struct SafetensorsFile::Map {
  std::string path;
  MappedFile file;
  const std::byte* data = nullptr;  // the data section
  SafetensorsHeader header;
};

SafetensorsFile::SafetensorsFile(const std::string& path) {
  try {
    map_ = std::make_unique<Map>(Map{.path = path, .file = MappedFile(path), .data = nullptr, .header = {}});
    const uint64_t length = header_length(map_->file, path);
    map_->data = map_->file.data() + kLengthBytes + length;
    map_->header = parse_safetensors_header(reinterpret_cast<const char*>(map_->file.data() + kLengthBytes),
                                            length, map_->file.size() - kLengthBytes - length, path);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kMemoryExhausted, {.expected = "enough memory",
                                       .subject = "the header of " + path,
                                       .received = "no more from the system",
                                       .remedy = ""});
  }
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::string& SafetensorsFile::path() const { return map_->path; }
const std::map<std::string, SafetensorsFile::Entry>& SafetensorsFile::entries() const {
  return map_->header.entries;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return map_->header.metadata; }
const std::byte* SafetensorsFile::data(const Entry& entry) const { return map_->data + entry.begin; }

Checkpoint::Checkpoint(const std::vector<std::string>& paths) {
  if (paths.empty()) {
    fail(ErrorCode::kCheckpointInvalid,
         {.expected = "at least one file", .subject = "the checkpoint", .received = "none", .remedy = ""});
  }
  files_.reserve(paths.size());
  std::map<std::string, const SafetensorsFile*> owners;
  for (const std::string& path : paths) {
    const SafetensorsFile& file = files_.emplace_back(path);
    for (const auto& [name, entry] : file.entries()) {
      const auto [owner, is_new] = owners.try_emplace(name, &file);
      if (is_new) continue;
      fail(ErrorCode::kCheckpointInvalid, {.expected = "one file to hold it",
                                           .subject = "tensor " + quoted(name),
                                           .received = owner->second->path() + " and " + path,
                                           .remedy = "Remove one of the two files"});
    }
  }
}

Checkpoint::Found Checkpoint::find(const std::string& name) const {
  Found found;
  std::string found_name;
  for (const std::string& spelling : spellings(name)) {
    for (const SafetensorsFile& file : files_) {
      const auto entry = file.entries().find(spelling);
      if (entry == file.entries().end()) continue;
      if (found.entry != nullptr) {
        fail(ErrorCode::kCheckpointInvalid, {.expected = "one tensor for " + quoted(name),
                                             .subject = describe(),
                                             .received = quoted(found_name) + " and " + quoted(spelling),
                                             .remedy = "Remove one of the two tensors"});
      }
      found = {&file, &entry->second};
      found_name = spelling;
    }
  }
  return found;
}

Checkpoint::Found Checkpoint::require(const std::string& name) const {
  const Found found = find(name);
  if (found.entry == nullptr) {
    fail(ErrorCode::kTensorMissing,
         {.expected = "tensor " + quoted(name) + ", with or without a leading \"bert.\",",
          .subject = describe(),
          .received = "no such tensor",
          .remedy = "Is this a BERT-family encoder, with all its files?"});
  }
  return found;
}

bool Checkpoint::has(const std::string& name) const { return find(name).entry != nullptr; }

std::vector<int64_t> Checkpoint::shape(const std::string& name) const { return require(name).entry->shape; }

TensorView Checkpoint::tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto [file, entry] = require(name);
  const DType dtype = readable_dtype(name, entry->dtype, file->path());
  if (entry->shape != shape) {
    fail(ErrorCode::kTensorShapeMismatch,
         {.expected = shape_text(shape),
          .subject = "the shape of tensor " + quoted(name) + " of " + file->path(),
          .received = shape_text(entry->shape),
          .remedy = "Do config.json and the weights belong together?"});
  }
  return {file->data(*entry), dtype, entry->shape};
}

std::string Checkpoint::describe() const {
  std::string text;
  for (const SafetensorsFile& file : files_) text += (text.empty() ? "" : ", ") + file.path();
  return text;
}

}  // namespace elasticlm
