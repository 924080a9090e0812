#include "addon/failure.h"

#include <exception>
#include <new>
#include <system_error>

namespace elasticlm {

Failure current_failure() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::kMemoryExhausted,
            "expected memory for the call, received none. Split the work or close models"};
  } catch (const std::system_error& error) {
    return {ErrorCode::kMemoryExhausted,
            std::string("expected threads for the call, received: ") + error.what()};
  } catch (const std::exception& error) {
    return {ErrorCode::kInternalFailed, error.what()};
  } catch (...) {
    return {ErrorCode::kInternalFailed, "an exception of unknown type"};
  }
}

napi_value to_error(napi_env env, const Failure& failure) noexcept {
  napi_value code = nullptr;
  napi_value message = nullptr;
  napi_value error = nullptr;
  napi_create_string_utf8(env, error_code_name(failure.code), NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, failure.message.data(), failure.message.size(), &message);
  napi_create_error(env, code, message, &error);
  return error;
}

void fail_contract(const std::string& subject, const std::string& expected) {
  fail(ErrorCode::kInternalFailed, {expected, subject + " (passed by the binding)", "something else", ""});
}

}  // namespace elasticlm
