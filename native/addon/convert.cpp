#include "addon/convert.h"

#include <algorithm>
#include <cmath>

#include "addon/failure.h"

namespace elasticlm {
namespace {

template <typename Array>
Array to_typed_array(const Napi::Value& value, napi_typedarray_type type, const std::string& subject,
                     const std::string& expected) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    fail_contract(subject, expected);
  return value.As<Array>();
}

template <typename Array, typename Element>
OutputArray<Element> to_output(const Napi::Value& value, napi_typedarray_type type,
                               const std::string& subject) {
  Array array = to_typed_array<Array>(value, type, subject, "a typed array for the result");
  return {array.Data(), static_cast<int64_t>(array.ElementLength())};
}

Napi::Array to_array(const Napi::Value& value, const std::string& subject) {
  if (!value.IsArray()) fail_contract(subject, "an array");
  return value.As<Napi::Array>();
}

std::vector<int32_t> to_positions(const Napi::Value& value, const std::string& subject) {
  const Napi::Array array = to_array(value, subject);
  std::vector<int32_t> positions(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value position = array[i];
    if (!position.IsNumber()) fail_contract(subject, "an array of numbers");
    positions[i] = position.As<Napi::Number>().Int32Value();
  }
  return positions;
}

std::vector<std::vector<int32_t>> to_orders(const Napi::Value& value, const std::string& subject) {
  const Napi::Array array = to_array(value, subject);
  std::vector<std::vector<int32_t>> orders;
  for (uint32_t i = 0; i < array.Length(); ++i) orders.push_back(to_positions(array[i], subject));
  return orders;
}

// Neurons of the listed blocks; the last block of the layer may be short. Positions are judged by validate().
int64_t neurons_in(const std::vector<int32_t>& blocks, int64_t intermediate_size) {
  int64_t neurons = 0;
  for (const int64_t block : blocks) {
    neurons += std::clamp<int64_t>(intermediate_size - block * kNeuronBlock, 0, kNeuronBlock);
  }
  return neurons;
}

Structure to_structure(const Napi::Object& object, const EncoderConfig& config) {
  const Napi::Array heads = to_array(object["heads"], "structure.heads");
  const Napi::Array neurons = to_array(object["neurons"], "structure.neurons");
  if (heads.Length() != neurons.Length()) fail_contract("structure", "as many layers of heads as of neurons");
  Structure structure;
  for (uint32_t i = 0; i < heads.Length(); ++i) {
    LayerStructure layer;
    const Napi::Value kept_heads = heads[i];
    const Napi::Value kept_neurons = neurons[i];
    if (kept_heads.IsArray()) {
      layer.heads = to_positions(kept_heads, "structure.heads");
      layer.num_heads = static_cast<int64_t>(layer.heads.size());
    } else {
      layer.num_heads = to_count(kept_heads, "structure.heads");
    }
    if (kept_neurons.IsArray()) {
      layer.neuron_blocks = to_positions(kept_neurons, "structure.neurons");
      layer.num_neurons = neurons_in(layer.neuron_blocks, config.intermediate_size);
    } else {
      layer.num_neurons = to_count(kept_neurons, "structure.neurons");
    }
    structure.layers.push_back(std::move(layer));
  }
  validate(structure, config);
  return structure;
}

}  // namespace

EncoderConfig to_config(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "config");
  EncoderConfig config;
  config.vocab_size = to_count(object["vocabSize"], "config.vocabSize");
  config.hidden_size = to_count(object["hiddenSize"], "config.hiddenSize");
  config.num_layers = to_count(object["numLayers"], "config.numLayers");
  config.num_heads = to_count(object["numHeads"], "config.numHeads");
  config.intermediate_size = to_count(object["intermediateSize"], "config.intermediateSize");
  config.max_position_embeddings = to_count(object["maxPositionEmbeddings"], "config.maxPositionEmbeddings");
  config.type_vocab_size = to_count(object["typeVocabSize"], "config.typeVocabSize");
  const Napi::Value eps = object["layerNormEps"];
  if (!eps.IsNumber()) fail_contract("config.layerNormEps", "a number");
  config.layer_norm_eps = eps.As<Napi::Number>().FloatValue();
  validate(config);
  return config;
}

std::string to_string(const Napi::Value& value, const char* subject) {
  if (!value.IsString()) fail_contract(subject, "a string");
  return value.As<Napi::String>().Utf8Value();
}

std::vector<std::string> to_strings(const Napi::Value& value, const char* subject) {
  const Napi::Array array = to_array(value, subject);
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < array.Length(); ++i) strings.push_back(to_string(array[i], subject));
  return strings;
}

int64_t to_count(const Napi::Value& value, const char* subject) {
  if (!value.IsNumber()) fail_contract(subject, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  // Up to 2^53 every whole double is exact.
  if (!(number >= 0 && number <= 0x1p53) || number != std::floor(number)) fail_contract(subject, "a count");
  return static_cast<int64_t>(number);
}

bool to_bool(const Napi::Value& value, const char* subject) {
  if (!value.IsBoolean()) fail_contract(subject, "true or false");
  return value.As<Napi::Boolean>().Value();
}

Napi::Object to_object(const Napi::Value& value, const char* subject) {
  if (!value.IsObject()) fail_contract(subject, "an object");
  return value.As<Napi::Object>();
}

std::vector<int32_t> to_int32s(const Napi::Value& value, const char* subject) {
  const auto array = to_typed_array<Napi::Int32Array>(value, napi_int32_array, subject, "an Int32Array");
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<float> to_floats(const Napi::Value& value, const char* subject) {
  const auto array = to_typed_array<Napi::Float32Array>(value, napi_float32_array, subject, "a Float32Array");
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<double> to_doubles(const Napi::Value& value, const char* subject) {
  const auto array = to_typed_array<Napi::Float64Array>(value, napi_float64_array, subject, "a Float64Array");
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<Structure> to_structures(const Napi::Value& value, const EncoderConfig& config) {
  const Napi::Array array = to_array(value, "structures");
  std::vector<Structure> structures;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    structures.push_back(to_structure(to_object(array[i], "structure"), config));
  }
  return structures;
}

Permutation to_permutation(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "permutation");
  return {to_orders(object["heads"], "permutation.heads"),
          to_orders(object["neurons"], "permutation.neurons")};
}

Precision to_precision(const Napi::Value& value) {
  const std::string name = to_string(value, "precision");
  for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
    if (name == precision_name(precision)) return precision;
  }
  fail_contract("precision", "f32, bf16 or i8");
}

Pooling to_pooling(const Napi::Value& value) {
  const std::string name = to_string(value, "pooling");
  if (name == "cls") return Pooling::kCls;
  if (name == "mean") return Pooling::kMean;
  fail_contract("pooling", "cls or mean");
}

PackedIds to_packed_ids(const Napi::Object& spec) {
  return {to_int32s(spec["inputIds"], "inputIds"), to_int32s(spec["tokenTypeIds"], "tokenTypeIds"),
          to_int32s(spec["cuSeqlens"], "cuSeqlens")};
}

OutputArray<float> to_float_output(const Napi::Value& value, const char* subject) {
  return to_output<Napi::Float32Array, float>(value, napi_float32_array, subject);
}

OutputArray<double> to_double_output(const Napi::Value& value, const char* subject) {
  return to_output<Napi::Float64Array, double>(value, napi_float64_array, subject);
}

OutputArray<int32_t> to_int32_output(const Napi::Value& value, const char* subject) {
  return to_output<Napi::Int32Array, int32_t>(value, napi_int32_array, subject);
}

OutputArray<uint8_t> to_uint8_output(const Napi::Value& value, const char* subject) {
  return to_output<Napi::Uint8Array, uint8_t>(value, napi_uint8_array, subject);
}

}  // namespace elasticlm
