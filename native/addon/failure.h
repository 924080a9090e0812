// From C++ exceptions to what JavaScript sees: an error whose `code` comes from the enum.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "core/status.h"

namespace elasticlm {

struct Failure {
  ErrorCode code = ErrorCode::kInternalFailed;
  std::string message;
};

// Of the exception being handled: only from inside a catch block.
Failure current_failure() noexcept;

// Null when the environment refuses, as one that is being torn down does.
napi_value to_error(napi_env env, const Failure& failure) noexcept;

// Calls `function`, which may throw what C++ throws, and throws what JavaScript can catch.
template <typename Function>
auto guarded(Napi::Env env, Function&& function) {
  try {
    return std::forward<Function>(function)();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw Napi::Error(env, to_error(env, current_failure()));
  }
}

// A broken agreement between lib/binding and this folder: TypeScript has checked what callers give.
[[noreturn]] void fail_contract(const std::string& subject, const std::string& expected);

}  // namespace elasticlm
