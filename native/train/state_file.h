// What a training needs to go on, to the bit: parameters, moments and the number of updates, in a safetensors
// file.
#pragma once

#include <string>

#include "train/adamw.h"
#include "train/parameters.h"

namespace elasticlm {

// `metadata`: the caller's own words, UTF-8. Appears whole or not at all. Throws kFileUnwritable.
struct TrainedState {
  const ParameterSet& parameters;
  const Moments& moments;
};
void write_state_file(const TrainedState& state, const std::string& metadata, const std::string& path);

// Fills what it is given and returns the metadata. Nothing of the file is trusted: throws kCheckpointInvalid
// unless every tensor of `parameters` is there in its shape, as finite f32, and nothing else; kFileNotFound,
// kFileUnreadable. Where it throws, nothing was changed.
struct RestoredState {
  ParameterSet& parameters;
  Moments& moments;
};
std::string read_state_file(const std::string& path, const RestoredState& state);

}  // namespace elasticlm
