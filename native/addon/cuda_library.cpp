#include "addon/cuda_library.h"

#include <dlfcn.h>

#include <string_view>

#include "core/status.h"

namespace elasticlm {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& expected, const std::string& received) {
  fail(ErrorCode::kBackendUnavailable,
       {.expected = expected,
        .subject = "backend 'cuda' in " + path,
        .received = received,
        .remedy = "Build the one of this version in a clone of the repository with "
                  "npm run build:cuda, or choose backend 'cpu'"});
}

// dlerror() says why, and forgets it.
std::string loader_message() {
  const char* message = dlerror();
  return message == nullptr ? "an unknown failure of the dynamic loader" : message;
}

ErrorCode code_of(std::string_view name) {
  for (int code = 0; code < static_cast<int>(ErrorCode::kInternalFailed); ++code) {
    if (name == error_code_name(static_cast<ErrorCode>(code))) return static_cast<ErrorCode>(code);
  }
  return ErrorCode::kInternalFailed;
}

}  // namespace

const CudaApi& load_cuda_library(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) refuse(path, "a library that this process can load", loader_message());
  const auto entry = reinterpret_cast<CudaApiEntry>(dlsym(library, kCudaApiSymbol));
  if (entry == nullptr) {
    const std::string reason = loader_message();
    dlclose(library);
    refuse(path, std::string("a library with the symbol ") + kCudaApiSymbol, reason);
  }
  const CudaApi* api = entry(kCudaApiVersion);
  if (api == nullptr || api->version != kCudaApiVersion) {
    dlclose(library);
    refuse(path, "a library of interface version " + std::to_string(kCudaApiVersion),
           "one of another version");
  }
  return *api;
}

void throw_cuda_error(const CudaError& error) { throw Error(code_of(error.code), error.message); }

}  // namespace elasticlm
