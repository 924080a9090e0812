// Between ParameterSet and what a checkpoint stores under which name.
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "core/status.h"
#include "model/assemble.h"
#include "model/float_tensor.h"
#include "model/output_file.h"
#include "model/printable.h"
#include "model/safetensors_writer.h"
#include "model/seeded_normal.h"
#include "model/tensor_names.h"
#include "train/parameters.h"

namespace elasticlm {
namespace {

// Rows of q, k and v stand together for each head: q, k or v of head h is group 3 h + `part` of the slot's
// rows.
struct HeadRows {
  int64_t head_dim = 0;  // 0: rows stand as they are stored
  int64_t part = 0;      // 0 query, 1 key, 2 value

  int64_t slot_row(int64_t row) const {
    return head_dim == 0 ? row : (row / head_dim * 3 + part) * head_dim + row % head_dim;
  }
};

// A tensor as a checkpoint stores it, and where its numbers lie.
struct StoredParameter {
  std::string name;
  std::vector<int64_t> shape;
  const ParameterSlot* slot = nullptr;
  HeadRows rows = {};
  bool is_transposed = false;  // the slot's rows are the tensor's columns
  float drawn_mean = 0.0f;     // of a tensor that is drawn
  float drawn_deviation = 0.0f;

  int64_t num_rows() const { return shape[0]; }
  int64_t num_columns() const { return shape.size() == 1 ? 1 : shape[1]; }

  // Calls visit(element of the tensor, element of the slot) for all.
  template <typename Visit>
  void for_each_element(const Visit& visit) const {
    for (int64_t r = 0; r < num_rows(); ++r) {
      for (int64_t c = 0; c < num_columns(); ++c) {
        visit(r * num_columns() + c,
              is_transposed ? c * num_rows() + r : rows.slot_row(r) * num_columns() + c);
      }
    }
  }
};

using StoredParameters = std::vector<StoredParameter>;

// BERT initialises with this deviation.
constexpr float kDrawnDeviation = 0.02f;

struct LinearSlots {
  const ParameterSlot& weight;
  const ParameterSlot& bias;
};

void add_table(StoredParameters& all, const std::string& name, const ParameterSlot& slot) {
  all.push_back({.name = name, .shape = {slot.rows, slot.columns}, .slot = &slot});
}

void add_linear(StoredParameters& all, const std::string& name, const LinearSlots& slots) {
  all.push_back({.name = weight_of(name),
                 .shape = {slots.weight.rows, slots.weight.columns},
                 .slot = &slots.weight,
                 .drawn_deviation = kDrawnDeviation});
  all.push_back({.name = bias_of(name), .shape = {slots.bias.columns}, .slot = &slots.bias});
}

void add_transposed(StoredParameters& all, const std::string& name, const LinearSlots& slots) {
  all.push_back({.name = weight_of(name),
                 .shape = {slots.weight.columns, slots.weight.rows},
                 .slot = &slots.weight,
                 .is_transposed = true});
  all.push_back({.name = bias_of(name), .shape = {slots.bias.columns}, .slot = &slots.bias});
}

void add_layer_norm(StoredParameters& all, const std::string& name, const LayerNormSlots& slots) {
  all.push_back(
      {.name = weight_of(name), .shape = {slots.gamma.columns}, .slot = &slots.gamma, .drawn_mean = 1.0f});
  all.push_back({.name = bias_of(name), .shape = {slots.beta.columns}, .slot = &slots.beta});
}

void add_layer(StoredParameters& all, const EncoderConfig& config, const LayerNames& names,
               const LayerSlots& slots) {
  const int64_t E = config.hidden_size;
  int64_t part = 0;
  for (const std::string* const name : {&names.query, &names.key, &names.value}) {
    const HeadRows rows{config.head_dim(), part++};
    all.push_back({.name = weight_of(*name), .shape = {E, E}, .slot = &slots.qkv, .rows = rows});
    all.push_back({.name = bias_of(*name), .shape = {E}, .slot = &slots.qkv_bias, .rows = rows});
  }
  add_transposed(all, names.attn_out, {slots.attn_out_t, slots.attn_out_bias});
  add_layer_norm(all, names.attn_layer_norm, slots.attn_layer_norm);
  add_linear(all, names.ffn_up, {slots.ffn_up, slots.ffn_up_bias});
  add_transposed(all, names.ffn_down, {slots.ffn_down_t, slots.ffn_down_bias});
  add_layer_norm(all, names.ffn_layer_norm, slots.ffn_layer_norm);
}

StoredParameters encoder_parameters(const ParameterLayout& layout) {
  StoredParameters all;
  add_table(all, kWordEmbeddings, layout.word_embeddings);
  add_table(all, kPositionEmbeddings, layout.position_embeddings);
  add_table(all, kTokenTypeEmbeddings, layout.token_type_embeddings);
  add_layer_norm(all, kEmbeddingLayerNorm, layout.embedding_layer_norm);
  for (size_t l = 0; l < layout.layers.size(); ++l)
    add_layer(all, layout.config, LayerNames(static_cast<int64_t>(l)), layout.layers[l]);
  return all;
}

StoredParameters pooler_parameters(const ParameterLayout& layout) {
  StoredParameters all;
  if (layout.heads.pooler) add_linear(all, kPooler, {layout.head.pooler, layout.head.pooler_bias});
  return all;
}

StoredParameters classifier_parameters(const ParameterLayout& layout) {
  StoredParameters all;
  if (layout.heads.num_labels > 0)
    add_linear(all, kClassifier, {layout.head.classifier, layout.head.classifier_bias});
  return all;
}

StoredParameters mlm_parameters(const ParameterLayout& layout) {
  StoredParameters all;
  if (!layout.heads.mlm) return all;
  add_linear(all, kMlmTransform, {layout.head.mlm_transform, layout.head.mlm_transform_bias});
  add_layer_norm(all, kMlmLayerNorm, layout.head.mlm_layer_norm);
  all.push_back({.name = kMlmBias, .shape = {layout.config.vocab_size}, .slot = &layout.head.mlm_bias});
  return all;
}

StoredParameters adapter_parameters(const ParameterLayout& layout, int64_t idx) {
  const AdapterSlots& adapter = layout.head.adapters[static_cast<size_t>(idx)];
  StoredParameters all;
  add_linear(all, adapter_name(idx), {adapter.weight, adapter.bias});
  all.front().drawn_deviation = 0.0f;
  return all;
}

void read(const Checkpoint& checkpoint, const StoredParameters& stored, ParameterSet& parameters) {
  std::vector<float> values;
  for (const StoredParameter& parameter : stored) {
    const TensorView tensor = checkpoint.tensor(parameter.name, parameter.shape);
    require_finite(tensor, parameter.name);
    values.resize(static_cast<size_t>(num_elements(tensor)));
    widen(tensor.data, tensor.dtype, num_elements(tensor), values.data());
    float* const to = parameters.at(*parameter.slot);
    parameter.for_each_element([&](int64_t from, int64_t at) { to[at] = values[static_cast<size_t>(from)]; });
  }
}

void draw(const StoredParameters& stored, uint64_t seed, ParameterSet& parameters) {
  for (const StoredParameter& parameter : stored) {
    SeededNormal normal(seed, parameter.name);
    float* const to = parameters.at(*parameter.slot);
    parameter.for_each_element([&](int64_t, int64_t at) {
      to[at] = parameter.drawn_mean + parameter.drawn_deviation * normal.next();
    });
  }
}

// A head is there when any of its tensors is; that another is missing is then an error, not a silent absence.
bool has_linear(const Checkpoint& checkpoint, const std::string& name) {
  return checkpoint.has(weight_of(name)) || checkpoint.has(bias_of(name));
}
bool has_mlm(const Checkpoint& checkpoint) {
  return has_linear(checkpoint, kMlmTransform) || has_linear(checkpoint, kMlmLayerNorm) ||
         checkpoint.has(kMlmBias);
}
int64_t stored_labels(const EncoderConfig& config, const Checkpoint& checkpoint) {
  if (!has_linear(checkpoint, kClassifier)) return 0;
  return num_labels_of(checkpoint.shape(weight_of(kClassifier)), config);
}
int64_t stored_adapters(const Checkpoint& checkpoint) {
  int64_t count = 0;
  while (has_linear(checkpoint, adapter_name(count))) ++count;
  return count;
}

// Training has one matrix for both: a checkpoint with two is not what it would give back.
void require_tied_decoder(const Checkpoint& checkpoint, const ParameterSet& parameters) {
  const std::string name = weight_of(kMlmDecoder);
  if (!checkpoint.has(name)) return;
  const ParameterSlot& words = parameters.layout().word_embeddings;
  const TensorView decoder = checkpoint.tensor(name, {words.rows, words.columns});
  std::vector<float> row(static_cast<size_t>(words.columns));
  for (int64_t r = 0; r < words.rows; ++r) {
    widen(decoder.data + r * words.columns * dtype_bytes(decoder.dtype), decoder.dtype, words.columns,
          row.data());
    if (std::memcmp(row.data(), parameters.at(words) + r * words.columns, row.size() * sizeof(float)) == 0)
      continue;
    fail(ErrorCode::kCheckpointInvalid,
         {.expected = "a decoder that is the word embeddings",
          .subject = "tensor " + quoted(name) + " of " + checkpoint.describe(),
          .received = "another row " + std::to_string(r),
          .remedy = "Train a checkpoint whose input and output embeddings are tied"});
  }
}

// The tensor's elements in its stored order.
std::vector<float> gather(const ParameterSet& parameters, const StoredParameter& parameter) {
  std::vector<float> values(static_cast<size_t>(parameter.num_rows() * parameter.num_columns()));
  const float* const from = parameters.at(*parameter.slot);
  parameter.for_each_element([&](int64_t to, int64_t at) { values[static_cast<size_t>(to)] = from[at]; });
  return values;
}

std::vector<uint16_t> to_f16(const std::vector<float>& values, const std::string& name) {
  constexpr uint16_t kInfinity = 0x7c00;
  std::vector<uint16_t> stored(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    stored[i] = f32_to_f16(values[i]);
    if ((stored[i] & kInfinity) != kInfinity) continue;
    fail(ErrorCode::kPrecisionUnsupported,
         {.expected = "weights within f16's range",
          .subject = "tensor " + quoted(name),
          .received = std::to_string(values[i]) + " at element " + std::to_string(i),
          .remedy = "Write the checkpoint in f32"});
  }
  return stored;
}

}  // namespace

HeadShapes heads_of(const EncoderConfig& config, const Checkpoint& checkpoint) {
  return {.pooler = has_linear(checkpoint, kPooler),
          .num_labels = stored_labels(config, checkpoint),
          .relation = false,
          .mlm = has_mlm(checkpoint),
          .num_adapters = stored_adapters(checkpoint)};
}

void read_parameters(const Checkpoint& checkpoint, const Checkpoint* teacher, uint64_t seed,
                     ParameterSet& parameters) {
  const ParameterLayout& layout = parameters.layout();
  const auto has_classifier = [&](const Checkpoint& of) {
    return layout.heads.num_labels > 0 && stored_labels(layout.config, of) == layout.heads.num_labels;
  };
  const bool takes_teachers = teacher != nullptr && !has_classifier(checkpoint) && has_classifier(*teacher);
  const Checkpoint& classifying = takes_teachers ? *teacher : checkpoint;
  read(checkpoint, encoder_parameters(layout), parameters);
  const auto read_or_draw = [&](const Checkpoint& from, bool is_stored, const StoredParameters& stored) {
    if (is_stored) {
      read(from, stored, parameters);
    } else {
      draw(stored, seed, parameters);
    }
  };
  read_or_draw(classifying, has_linear(classifying, kPooler), pooler_parameters(layout));
  read_or_draw(classifying, has_classifier(classifying), classifier_parameters(layout));
  read_or_draw(checkpoint, has_mlm(checkpoint), mlm_parameters(layout));
  if (layout.heads.mlm) require_tied_decoder(checkpoint, parameters);
  for (int64_t i = 0; i < layout.heads.num_adapters; ++i) {
    read_or_draw(checkpoint, has_linear(checkpoint, adapter_name(i)), adapter_parameters(layout, i));
  }
  if (layout.heads.relation) {
    StoredParameters relation;
    add_linear(relation, "relation", {layout.head.relation, layout.head.relation_bias});
    draw(relation, seed, parameters);
  }
}

void write_parameters(const ParameterSet& parameters, StoredDtype dtype, const std::string& path) {
  const ParameterLayout& layout = parameters.layout();
  StoredParameters stored = encoder_parameters(layout);
  for (StoredParameter& parameter : pooler_parameters(layout)) stored.push_back(std::move(parameter));
  if (layout.heads.num_labels > 0 || layout.heads.mlm) {
    for (StoredParameter& parameter : stored) parameter.name.insert(0, kModelPrefix);
  }
  for (StoredParameter& parameter : classifier_parameters(layout)) stored.push_back(std::move(parameter));
  for (StoredParameter& parameter : mlm_parameters(layout)) stored.push_back(std::move(parameter));
  for (int64_t i = 0; i < layout.heads.num_adapters; ++i) {
    for (StoredParameter& parameter : adapter_parameters(layout, i)) stored.push_back(std::move(parameter));
  }

  const DType file_dtype = dtype == StoredDtype::kF16 ? DType::kF16 : DType::kF32;
  std::vector<TensorOutline> outlines;
  for (const StoredParameter& parameter : stored) {
    const int64_t size = parameter.num_rows() * parameter.num_columns();
    outlines.push_back({parameter.name, dtype_name(file_dtype), parameter.shape,
                        static_cast<uint64_t>(size * dtype_bytes(file_dtype))});
  }
  const SafetensorsOutline outline = lay_out_safetensors(outlines, {{"format", "pt"}});
  OutputFile file(path);
  file.append(outline.header.data(), outline.header.size());
  for (const size_t i : outline.order) {
    const StoredParameter& parameter = stored[i];
    const std::vector<float> values = gather(parameters, parameter);
    require_finite({reinterpret_cast<const std::byte*>(values.data()), DType::kF32, parameter.shape},
                   parameter.name);
    if (dtype == StoredDtype::kF16) {
      const std::vector<uint16_t> halves = to_f16(values, parameter.name);
      file.append(halves.data(), halves.size() * sizeof(uint16_t));
    } else {
      file.append(values.data(), values.size() * sizeof(float));
    }
  }
  file.commit();
}

}  // namespace elasticlm
