// What crosses between the addon and elasticlm_cuda.so: plain data and functions over it. The two are built
// by different compilers, each with a C++ runtime of its own, so no object of the standard library, no
// exception and no ownership goes across. The addon finds the library at run time and never links it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "model/config.h"

namespace elasticlm {

// Raised by every change of this file, of EncoderConfig, and of the enums that cross as numbers.
inline constexpr uint32_t kCudaApiVersion = 1;

// Filled by a call that failed. Codes cross by name, because the enum of either side may have grown.
struct CudaError {
  char code[64];       // ErrorCode's public name, "ELASTICLM_DEVICE_FAILED"
  char message[4032];  // cut off where it is longer
};

// A LayerStructure. No list (of length 0) means the first num_heads heads or num_neurons neurons.
struct CudaLayer {
  int64_t num_heads;
  int64_t num_neurons;
  const int32_t* heads;          // [num_listed_heads]
  const int32_t* neuron_blocks;  // [num_listed_blocks]
  int64_t num_listed_heads;
  int64_t num_listed_blocks;
};

struct CudaStructures {
  const CudaLayer* layers;  // [num_structures, L]
  int64_t num_structures;
};

static_assert(std::is_standard_layout_v<EncoderConfig> && std::is_trivially_copyable_v<EncoderConfig>);

struct CudaModelSpec {
  EncoderConfig config;
  const char* const* paths;  // [num_paths] the checkpoint's safetensors files
  int64_t num_paths;
  CudaStructures structures;  // that forwards without structures of their own point into
  int32_t precision;          // DType
  int32_t device_idx;
  int32_t num_streams;  // forwards that may run at once
  const char* path;     // name of a DevicePath: "auto", but for tests and measurements
};

struct CudaModelFacts {
  char device_name[256];
  int32_t compute_capability;  // 90 for 9.0
  int32_t num_sms;
  int64_t weight_bytes;  // of the GPU's memory
  int64_t num_labels;    // 0 without a classifier
  int32_t has_pooler;
  int32_t emulated;
};

// A Batch: validated by the caller.
struct CudaBatch {
  const int32_t* input_ids;       // [T]
  const int32_t* token_type_ids;  // [T]
  const int32_t* cu_seqlens;      // [B + 1]
  const int32_t* structure_idx;   // [B] position in the structures
  int64_t num_tokens;             // T
  int64_t num_sequences;          // B
};

struct CudaForward {
  CudaBatch batch;
  CudaStructures structures;  // validated by the caller; none: the model's own
  int32_t output;             // Output
  int32_t pooling;            // Pooling
  int32_t normalize;
  int32_t stream_idx;               // one caller at a time for each
  const volatile uint8_t* aborted;  // a lock-free std::atomic<bool>, which another thread may set; never null
  float* out;                       // receives output_floats() floats before the call returns
};

struct CudaModel;  // the library's own

// Functions that return int32_t give 0, or 1 with the error filled. Any thread may call them; destroy_model
// must be the last call of its model.
struct CudaApi {
  uint32_t version;
  // Reads the checkpoint and puts it on the device.
  int32_t (*create_model)(const CudaModelSpec* spec, CudaModel** model, CudaError* error);
  void (*model_facts)(const CudaModel* model, CudaModelFacts* facts);
  int32_t (*output_floats)(const CudaModel* model, const CudaBatch* batch, int32_t output, int64_t* floats,
                           CudaError* error);
  // Blocks until the result is there.
  int32_t (*forward)(CudaModel* model, const CudaForward* forward, CudaError* error);
  int64_t (*arena_bytes)(const CudaModel* model);
  void (*destroy_model)(CudaModel* model);
};

// The library's one symbol. Null for a version that it does not speak.
using CudaApiEntry = const CudaApi* (*)(uint32_t version);
inline constexpr const char* kCudaApiSymbol = "elasticlm_cuda_api";

}  // namespace elasticlm
