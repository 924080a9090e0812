// From JavaScript values to the library's records. Typed arrays are copied: JavaScript may change them while
// a call runs.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/precision.h"
#include "kernels/pooling.h"
#include "model/config.h"
#include "model/permutation.h"
#include "model/structure.h"

namespace elasticlm {

EncoderConfig to_config(const Napi::Value& value);  // checked by validate()
std::vector<std::string> to_strings(const Napi::Value& value, const char* subject);
std::string to_string(const Napi::Value& value, const char* subject);
int64_t to_count(const Napi::Value& value, const char* subject);
bool to_bool(const Napi::Value& value, const char* subject);
Napi::Object to_object(const Napi::Value& value, const char* subject);
std::vector<int32_t> to_int32s(const Napi::Value& value, const char* subject);  // an Int32Array's copy
std::vector<float> to_floats(const Napi::Value& value, const char* subject);    // a Float32Array's copy
std::vector<double> to_doubles(const Napi::Value& value, const char* subject);  // a Float64Array's copy
std::vector<Structure> to_structures(const Napi::Value& value,
                                     const EncoderConfig& config);  // each checked by validate()
Permutation to_permutation(const Napi::Value& value);
Precision to_precision(const Napi::Value& value);
Pooling to_pooling(const Napi::Value& value);

// The packed batch of a call's object, owned by the call.
struct PackedIds {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  std::vector<int32_t> cu_seqlens;
};
PackedIds to_packed_ids(const Napi::Object& spec);

// Memory of a typed array that a call writes to. The caller keeps the array alive and out of JavaScript's
// hands.
template <typename Element>
struct OutputArray {
  Element* data = nullptr;
  int64_t size = 0;
};
OutputArray<float> to_float_output(const Napi::Value& value, const char* subject);
OutputArray<double> to_double_output(const Napi::Value& value, const char* subject);
OutputArray<int32_t> to_int32_output(const Napi::Value& value, const char* subject);
OutputArray<uint8_t> to_uint8_output(const Napi::Value& value, const char* subject);

}  // namespace elasticlm
