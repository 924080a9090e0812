#include "core/status.h"

namespace elasticlm {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kFileNotFound:
      return "ELASTICLM_FILE_NOT_FOUND";
    case ErrorCode::kFileUnreadable:
      return "ELASTICLM_FILE_UNREADABLE";
    case ErrorCode::kFileUnwritable:
      return "ELASTICLM_FILE_UNWRITABLE";
    case ErrorCode::kCheckpointInvalid:
      return "ELASTICLM_CHECKPOINT_INVALID";
    case ErrorCode::kTensorMissing:
      return "ELASTICLM_TENSOR_MISSING";
    case ErrorCode::kTensorShapeMismatch:
      return "ELASTICLM_TENSOR_SHAPE_MISMATCH";
    case ErrorCode::kDtypeUnsupported:
      return "ELASTICLM_DTYPE_UNSUPPORTED";
    case ErrorCode::kConfigInvalid:
      return "ELASTICLM_CONFIG_INVALID";
    case ErrorCode::kStructureInvalid:
      return "ELASTICLM_STRUCTURE_INVALID";
    case ErrorCode::kBatchInvalid:
      return "ELASTICLM_BATCH_INVALID";
    case ErrorCode::kIndexInvalid:
      return "ELASTICLM_INDEX_INVALID";
    case ErrorCode::kModelClosed:
      return "ELASTICLM_MODEL_CLOSED";
    case ErrorCode::kCallAborted:
      return "ELASTICLM_CALL_ABORTED";
    case ErrorCode::kMemoryExhausted:
      return "ELASTICLM_MEMORY_EXHAUSTED";
    case ErrorCode::kIsaUnsupported:
      return "ELASTICLM_ISA_UNSUPPORTED";
    case ErrorCode::kPrecisionUnsupported:
      return "ELASTICLM_PRECISION_UNSUPPORTED";
    case ErrorCode::kBackendUnavailable:
      return "ELASTICLM_BACKEND_UNAVAILABLE";
    case ErrorCode::kDeviceMemoryExhausted:
      return "ELASTICLM_DEVICE_MEMORY_EXHAUSTED";
    case ErrorCode::kDeviceFailed:
      return "ELASTICLM_DEVICE_FAILED";
    case ErrorCode::kInternalFailed:
      return "ELASTICLM_INTERNAL_FAILED";
  }
  return "ELASTICLM_INTERNAL_FAILED";
}

void fail(ErrorCode code, const ErrorFacts& facts) {
  std::string message =
      "expected " + facts.expected + " for " + facts.subject + ", received " + facts.received;
  if (!facts.remedy.empty()) message += ". " + facts.remedy;
  throw Error(code, message);
}

}  // namespace elasticlm
