// A library in the place of elasticlm_cuda.so that computes nothing: its results tell what crossed the
// boundary, and each of its devices has a failure of its own. For tests of the Node side on machines without
// a GPU.
#include <chrono>
#include <cstdio>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "cuda/api.h"

#ifndef FAKE_VERSION
#define FAKE_VERSION kCudaApiVersion
#endif

namespace elasticlm {

// test/support/fake-cuda.ts has the same list.
enum Device { kSound, kOld, kFull, kBroken, kStrange };

struct CudaModel {
  EncoderConfig config;
  int32_t device_idx;
  int32_t precision;
  std::string path;
  int32_t num_streams;
  int64_t num_files;
  // The first layer of each of the model's structures: heads and neurons kept.
  std::string structures;
  std::mutex mutex;
  std::set<int32_t> busy_streams;
};

namespace {

int32_t report(CudaError* error, const char* code, const char* message) {
  std::snprintf(error->code, sizeof(error->code), "%s", code);
  std::snprintf(error->message, sizeof(error->message), "%s", message);
  return 1;
}

std::string first_layers(const CudaStructures& structures, int64_t num_layers) {
  std::string text;
  for (int64_t i = 0; i < structures.num_structures; ++i) {
    const CudaLayer& layer = structures.layers[i * num_layers];
    text += " " + std::to_string(layer.num_heads) + "/" + std::to_string(layer.num_neurons);
  }
  return text;
}

int32_t create_model(const CudaModelSpec* spec, CudaModel** model, CudaError* error) {
  if (spec->device_idx == kOld) {
    return report(error, "ELASTICLM_BACKEND_UNAVAILABLE",
                  "expected compute capability 8.0 or later for backend 'cuda', received 7.5");
  }
  if (spec->device_idx == kFull) {
    return report(error, "ELASTICLM_DEVICE_MEMORY_EXHAUSTED",
                  "expected memory for the weights, received none");
  }
  if (spec->device_idx == kStrange)
    return report(error, "ELASTICLM_NOT_YET_KNOWN", "what a later library says");
  *model = new CudaModel{.config = spec->config,
                         .device_idx = spec->device_idx,
                         .precision = spec->precision,
                         .path = spec->path,
                         .num_streams = spec->num_streams,
                         .num_files = spec->num_paths,
                         .structures = first_layers(spec->structures, spec->config.num_layers),
                         .mutex = {},
                         .busy_streams = {}};
  return 0;
}

void model_facts(const CudaModel* model, CudaModelFacts* facts) {
  std::snprintf(facts->device_name, sizeof(facts->device_name), "dtype %d, path %s, %d streams, %d files,%s",
                model->precision, model->path.c_str(), model->num_streams, static_cast<int>(model->num_files),
                model->structures.c_str());
  facts->compute_capability = 90;
  facts->num_sms = 132;
  facts->weight_bytes = 1000;
  facts->num_labels = 0;
  facts->has_pooler = 1;
  facts->emulated = 0;
}

int32_t output_floats(const CudaModel* model, const CudaBatch* batch, int32_t output, int64_t* floats,
                      CudaError*) {
  *floats = (output == 0 ? batch->num_tokens : batch->num_sequences) *
            (output == 3 ? 0 : model->config.hidden_size);
  return 0;
}

// Ids and kept heads for each token, and what else was asked for, for each sequence.
void write_result(const CudaModel& model, const CudaForward& forward) {
  const CudaBatch& batch = forward.batch;
  float* row = forward.out;
  for (int64_t sequence = 0; sequence < batch.num_sequences; ++sequence) {
    const int32_t begin = batch.cu_seqlens[sequence];
    const int32_t end = batch.cu_seqlens[sequence + 1];
    if (forward.output != 0) {
      row[0] = static_cast<float>(end - begin);
      row[1] = static_cast<float>(forward.output);
      row[2] = static_cast<float>(forward.pooling);
      row[3] = static_cast<float>(forward.normalize);
      row[4] = static_cast<float>(batch.structure_idx[sequence]);
      row += model.config.hidden_size;
      continue;
    }
    const int32_t idx = batch.structure_idx[sequence];
    for (int32_t token = begin; token < end; ++token, row += model.config.hidden_size) {
      row[0] = static_cast<float>(batch.input_ids[token]);
      row[1] = static_cast<float>(batch.token_type_ids[token]);
      row[2] = static_cast<float>(forward.structures.num_structures);
      if (forward.structures.num_structures == 0) continue;
      const CudaLayer& layer = forward.structures.layers[(idx + 1) * model.config.num_layers - 1];
      row[3] = static_cast<float>(layer.num_heads);
      row[4] = static_cast<float>(layer.num_neurons);
      for (int64_t i = 0; i < layer.num_listed_heads; ++i) row[5] += static_cast<float>(layer.heads[i]);
      for (int64_t i = 0; i < layer.num_listed_blocks; ++i)
        row[6] += static_cast<float>(layer.neuron_blocks[i]);
    }
  }
}

// Takes 0.2 ms for each token, and looks for an abort every millisecond.
int32_t forward(CudaModel* model, const CudaForward* request, CudaError* error) {
  using Clock = std::chrono::steady_clock;
  if (model->device_idx == kBroken) {
    return report(error, "ELASTICLM_DEVICE_FAILED",
                  "expected a result, received: unspecified launch failure");
  }
  {
    std::lock_guard lock(model->mutex);
    if (request->stream_idx >= model->num_streams ||
        !model->busy_streams.insert(request->stream_idx).second) {
      return report(error, "ELASTICLM_INTERNAL_FAILED", "a stream that is busy or that there is not");
    }
  }
  const auto end = Clock::now() + request->batch.num_tokens * std::chrono::microseconds(200);
  while (Clock::now() < end && *request->aborted == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  {
    std::lock_guard lock(model->mutex);
    model->busy_streams.erase(request->stream_idx);
  }
  if (*request->aborted != 0)
    return report(error, "ELASTICLM_CALL_ABORTED", "the call was aborted between two steps");
  write_result(*model, *request);
  return 0;
}

int64_t arena_bytes(const CudaModel*) { return 2000; }

void destroy_model(CudaModel* model) { delete model; }

constexpr CudaApi kApi{kCudaApiVersion, create_model, model_facts,  output_floats,
                       forward,         arena_bytes,  destroy_model};

}  // namespace

extern "C" const CudaApi* elasticlm_cuda_api(uint32_t version) {
  return version == FAKE_VERSION ? &kApi : nullptr;
}

}  // namespace elasticlm
