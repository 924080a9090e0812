// Finds the functions of elasticlm_cuda.so when a model asks for a GPU, and never before.
#pragma once

#include <string>

#include "cuda/api.h"

namespace elasticlm {

// Loads the library and leaves it loaded until the process ends, because the CUDA runtime inside it cannot be
// unloaded; loading it again is cheap. Throws kBackendUnavailable: not a library that this process can load,
// one of another interface version.
const CudaApi& load_cuda_library(const std::string& path);

// Throws what `error` says.
[[noreturn]] void throw_cuda_error(const CudaError& error);

}  // namespace elasticlm
