// The error codes of native code and the exception that carries them. The binding turns each into an
// ElasticError with the same name; no code is ever recovered from a message's text.
#pragma once

#include <stdexcept>
#include <string>

namespace elasticlm {

enum class ErrorCode {
  kFileNotFound,
  kFileUnreadable,
  kFileUnwritable,
  kCheckpointInvalid,
  kTensorMissing,
  kTensorShapeMismatch,
  kDtypeUnsupported,
  kConfigInvalid,
  kStructureInvalid,
  kBatchInvalid,
  kIndexInvalid,
  kModelClosed,
  kCallAborted,
  kMemoryExhausted,
  kIsaUnsupported,
  kPrecisionUnsupported,
  kBackendUnavailable,
  kDeviceMemoryExhausted,
  kDeviceFailed,
  kInternalFailed,
};

// The public name, e.g. "ELASTICLM_FILE_NOT_FOUND". Never null.
const char* error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// What was expected, for what, what was received, and the remedy: the wording of every message a user can
// see.
struct ErrorFacts {
  std::string expected;
  std::string subject;
  std::string received;
  std::string remedy;  // may be empty
};

[[noreturn]] void fail(ErrorCode code, const ErrorFacts& facts);

}  // namespace elasticlm
