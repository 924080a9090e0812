// The header of a new safetensors file.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace elasticlm {

// A tensor to be written, wherever its data come from.
struct TensorOutline {
  std::string name;   // UTF-8
  std::string dtype;  // "F32", "I64", …
  std::vector<int64_t> shape;
  uint64_t num_bytes = 0;
};

struct SafetensorsOutline {
  std::string header;         // the file's first bytes: length, JSON, padding; a multiple of 8
  std::vector<size_t> order;  // positions in `tensors`, in the order in which their data follow the header
};

// Tensors with wide elements first, then by name, as the format's own writer orders them: every tensor is
// then aligned to its elements, and equal tensors give equal files. `metadata` is UTF-8.
SafetensorsOutline lay_out_safetensors(std::span<const TensorOutline> tensors,
                                       const std::map<std::string, std::string>& metadata);

struct StoredTensor {
  const std::string* name = nullptr;
  const SafetensorsFile* file = nullptr;
  const SafetensorsFile::Entry* entry = nullptr;  // where it lies in `file`
};

struct SafetensorsLayout {
  std::string header;                 // as above
  std::vector<StoredTensor> tensors;  // in the order of their data; point into the checkpoint
};

// The same for all tensors of a checkpoint.
SafetensorsLayout lay_out_safetensors(const Checkpoint& checkpoint,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace elasticlm
