// The header of a new safetensors file that holds all tensors of a checkpoint.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace elasticlm {

struct StoredTensor {
  const std::string* name = nullptr;
  const SafetensorsFile* file = nullptr;
  const SafetensorsFile::Entry* entry = nullptr;  // where it lies in `file`
};

struct SafetensorsLayout {
  std::string header;  // the file's first bytes: length, JSON, padding; a multiple of 8
  std::vector<StoredTensor>
      tensors;  // in the order in which their data follow the header; point into the checkpoint
};

// Tensors with wide elements first, then by name, as the format's own writer orders them: every tensor is
// then aligned to its elements, and equal tensors give equal files.
SafetensorsLayout lay_out_safetensors(const Checkpoint& checkpoint,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace elasticlm
