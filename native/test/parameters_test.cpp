#include "train/parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include "core/dtype.h"
#include "model/weights.h"
#include "test/check.h"
#include "test/checkpoint_files.h"

namespace elasticlm::test {
namespace {

std::unique_ptr<ParameterSet> make_set(const EncoderConfig& config, const HeadShapes& heads) {
  return std::make_unique<ParameterSet>(std::make_shared<ParameterLayout>(config, heads));
}

StoredValues constant(const std::string& name, const std::vector<int64_t>& shape, float value) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return {name, shape, std::vector<float>(static_cast<size_t>(count), value)};
}

std::vector<StoredValues> mlm_tensors(const EncoderConfig& config) {
  const int64_t E = config.hidden_size;
  return {constant("cls.predictions.transform.dense.weight", {E, E}, 0.25f),
          constant("cls.predictions.transform.dense.bias", {E}, 0.5f),
          constant("cls.predictions.transform.LayerNorm.weight", {E}, 0.75f),
          constant("cls.predictions.transform.LayerNorm.bias", {E}, -0.25f),
          constant("cls.predictions.bias", {config.vocab_size}, -0.5f)};
}

std::vector<StoredValues> adapter_tensors(const EncoderConfig& config, int64_t idx) {
  const std::string name = "elastic_adapters." + std::to_string(idx);
  const float value = 0.25f * static_cast<float>(idx + 1);
  return {constant(name + ".weight", {config.hidden_size, config.hidden_size}, value),
          constant(name + ".bias", {config.hidden_size}, -value)};
}

void append(std::vector<StoredValues>& to, const std::vector<StoredValues>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

float stored_value(const Checkpoint& checkpoint, const std::string& name, const std::vector<int64_t>& shape,
                   int64_t i) {
  const TensorView tensor = checkpoint.tensor(name, shape);
  if (tensor.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, tensor.data + i * 4, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, tensor.data + i * 2, sizeof bits);
  return f16_to_f32(bits);
}

void check_equal(const ParameterSet& actual, const ParameterSet& expected, const std::string& what) {
  for (const ParameterSlot* const slot : expected.layout().slots()) {
    for (int64_t i = 0; i < slot->size(); ++i) {
      CHECK(actual.at(*slot)[i] == expected.at(*slot)[i],
            what + ": " + slot->name + " element " + std::to_string(i) + " is " +
                std::to_string(actual.at(*slot)[i]) + ", expected " + std::to_string(expected.at(*slot)[i]));
    }
  }
}

TEST_CASE("slots follow one another, aligned, and only matrices decay") {
  EncoderConfig config = small_config();
  config.intermediate_size = 21;
  config.vocab_size = 13;
  const ParameterLayout layout(
      config, {.pooler = true, .num_labels = 3, .relation = true, .mlm = true, .num_adapters = 2});
  int64_t end = 0;
  size_t matrices = 0;
  for (const ParameterSlot* const slot : layout.slots()) {
    CHECK(slot->offset >= end && slot->offset - end < 16, slot->name + " leaves a gap");
    CHECK(slot->offset % 16 == 0, slot->name + " is not aligned");
    CHECK(slot->decays == (slot->rows > 1), slot->name + " decays wrongly");
    matrices += slot->rows > 1 ? 1 : 0;
    end = slot->offset + slot->size();
  }
  CHECK(layout.num_floats >= end && layout.num_floats % 16 == 0, "the run ends too early");
  CHECK(matrices == 3 + 4 * 2 + 4 + 2, "matrices: " + std::to_string(matrices));
  const ParameterLayout bare(config, {});
  CHECK(bare.head.pooler.size() == 0 && bare.head.mlm_bias.size() == 0,
        "a head that is not there has a size");
  check_throws("labels", ErrorCode::kConfigInvalid, "num_labels",
               [&] { ParameterLayout(config, {.num_labels = -1}); });
  check_throws("adapters", ErrorCode::kConfigInvalid, "adapters",
               [&] { ParameterLayout(config, {.num_adapters = -1}); });
}

TEST_CASE("a checkpoint read and written holds the same numbers under the same names") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  for (const bool has_pooler : {false, true}) {
    for (const int64_t num_labels : {0, 3}) {
      for (const bool has_mlm : {false, true}) {
        const std::string prefix = num_labels > 0 || has_mlm ? "bert." : "";
        std::vector<StoredValues> tensors = encoder_tensors(
            config, {.prefix = prefix, .pooler = has_pooler, .num_labels = num_labels, .seed = 5});
        if (has_mlm) append(tensors, mlm_tensors(config));
        const int64_t num_adapters = has_pooler ? 2 : 0;
        for (int64_t i = 0; i < num_adapters; ++i) append(tensors, adapter_tensors(config, i));
        write_file(folder.path("in"), safetensors_bytes(tensors, DType::kF32));
        const Checkpoint checkpoint({folder.path("in")});
        const HeadShapes heads = heads_of(config, checkpoint);
        CHECK(heads.pooler == has_pooler && heads.num_labels == num_labels && heads.mlm == has_mlm &&
                  heads.num_adapters == num_adapters && !heads.relation,
              "heads were not recognised");
        const auto parameters = make_set(config, heads);
        read_parameters(checkpoint, nullptr, 1, *parameters);
        for (const StoredDtype dtype : {StoredDtype::kF32, StoredDtype::kF16}) {
          write_parameters(*parameters, dtype, folder.path("out"));
          const Checkpoint written({folder.path("out")});
          const auto& entries = written.files().front().entries();
          CHECK(entries.size() == tensors.size(), std::to_string(entries.size()) + " tensors were written");
          for (const StoredValues& tensor : tensors) {
            const auto entry = entries.find(tensor.name);
            CHECK(entry != entries.end(), tensor.name + " was not written");
            CHECK(entry->second.dtype == (dtype == StoredDtype::kF16 ? "F16" : "F32"),
                  tensor.name + " is " + entry->second.dtype);
            for (size_t i = 0; i < tensor.values.size(); ++i) {
              CHECK(stored_value(written, tensor.name, tensor.shape, static_cast<int64_t>(i)) ==
                        tensor.values[i],
                    tensor.name + " element " + std::to_string(i) + " changed");
            }
          }
          load_weights(config, {folder.path("out")});
          const auto again = make_set(config, heads);
          read_parameters(written, nullptr, 2, *again);
          check_equal(*again, *parameters, "read again");
        }
      }
    }
  }
}

TEST_CASE("a classifier that the student lacks is the teacher's, with the pooler that it reads") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  const auto load = [&](const std::string& name, int64_t num_labels, uint64_t seed) {
    write_file(
        folder.path(name),
        safetensors_bytes(encoder_tensors(config, {.prefix = "", .num_labels = num_labels, .seed = seed}),
                          DType::kF32));
    return Checkpoint({folder.path(name)});
  };
  const Checkpoint bare = load("bare", 0, 1);
  const Checkpoint labelled = load("labelled", 3, 2);
  const Checkpoint teacher = load("teacher", 3, 3);
  const Checkpoint other = load("other", 2, 4);
  const auto read = [&](const Checkpoint& student, const Checkpoint* from) {
    auto parameters = make_set(config, {.pooler = true, .num_labels = 3});
    read_parameters(student, from, 1, *parameters);
    return parameters;
  };
  const auto same = [&](const ParameterSet& a, const ParameterSet& b, const ParameterSlot& slot) {
    return std::equal(a.at(slot), a.at(slot) + slot.size(), b.at(slot));
  };
  const auto of_teacher = read(teacher, nullptr);
  const auto of_bare = read(bare, nullptr);
  const HeadSlots& head = of_bare->layout().head;
  const auto taken = read(bare, &teacher);
  CHECK(same(*taken, *of_teacher, head.classifier) && same(*taken, *of_teacher, head.classifier_bias),
        "the teacher's classifier");
  CHECK(same(*taken, *of_teacher, head.pooler) && same(*taken, *of_teacher, head.pooler_bias),
        "the teacher's pooler");
  CHECK(same(*taken, *of_bare, of_bare->layout().layers[0].ffn_up), "the student's encoder");
  check_equal(*read(bare, &other), *of_bare, "a teacher of other labels");
  check_equal(*read(labelled, &teacher), *read(labelled, nullptr), "a student with a classifier");
}

TEST_CASE("an adapter that a checkpoint lacks begins as nothing") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  write_file(folder.path("in"), safetensors_bytes(encoder_tensors(config, {}), DType::kF32));
  const auto parameters = make_set(config, {.num_adapters = 1});
  const AdapterSlots& adapter = parameters->layout().head.adapters[0];
  read_parameters(Checkpoint({folder.path("in")}), nullptr, 1, *parameters);
  for (int64_t i = 0; i < adapter.weight.size(); ++i)
    CHECK(parameters->at(adapter.weight)[i] == 0.0f, "weight");
  for (int64_t i = 0; i < adapter.bias.size(); ++i) CHECK(parameters->at(adapter.bias)[i] == 0.0f, "bias");
}

TEST_CASE("kept rows: heads stand as q, k, v, and outgoing weights are transposed") {
  const EncoderConfig config = small_config();
  const int64_t E = config.hidden_size;
  const int64_t D = config.head_dim();
  const int64_t F = config.intermediate_size;
  const std::vector<StoredValues> tensors = encoder_tensors(config, {});
  const TemporaryFolder folder;
  write_file(folder.path("in"), safetensors_bytes(tensors, DType::kBF16));
  const auto parameters = make_set(config, {});
  read_parameters(Checkpoint({folder.path("in")}), nullptr, 1, *parameters);
  const std::string layer = "encoder.layer.1.";
  const LayerSlots& slots = parameters->layout().layers[1];
  const std::string parts[] = {"query", "key", "value"};
  for (int64_t h = 0; h < config.num_heads; ++h) {
    for (int64_t part = 0; part < 3; ++part) {
      const std::string name = layer + "attention.self." + parts[part];
      for (int64_t d = 0; d < D; ++d) {
        const int64_t row = (h * 3 + part) * D + d;
        CHECK(parameters->at(slots.qkv_bias)[row] ==
                  tensor_named(tensors, name + ".bias").values[static_cast<size_t>(h * D + d)],
              name + ".bias");
        for (int64_t e = 0; e < E; ++e) {
          CHECK(parameters->at(slots.qkv)[row * E + e] ==
                    tensor_named(tensors, name + ".weight").values[static_cast<size_t>((h * D + d) * E + e)],
                name + ".weight");
        }
      }
    }
  }
  for (int64_t e = 0; e < E; ++e) {
    for (int64_t f = 0; f < F; ++f) {
      CHECK(parameters->at(slots.ffn_down_t)[f * E + e] ==
                tensor_named(tensors, layer + "output.dense.weight").values[static_cast<size_t>(e * F + f)],
            "ffn_down_t");
    }
    for (int64_t c = 0; c < E; ++c) {
      CHECK(parameters->at(slots.attn_out_t)[c * E + e] ==
                tensor_named(tensors, layer + "attention.output.dense.weight")
                    .values[static_cast<size_t>(e * E + c)],
            "attn_out_t");
    }
  }
}

TEST_CASE("f16 is rounded to nearest even, and a value beyond its range names the tensor") {
  const EncoderConfig config = small_config();
  const auto parameters = make_set(config, {});
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  for (float& value : parameters->values()) value = normal(random);
  const LayerNormSlots& norm = parameters->layout().embedding_layer_norm;
  // Halfway between neighbours: to the even one, down and up.
  parameters->at(norm.gamma)[0] = 1.0f + 0x1p-11f;
  parameters->at(norm.gamma)[1] = 1.0f + 3 * 0x1p-11f;
  parameters->at(norm.gamma)[2] = 65519.0f;
  const TemporaryFolder folder;
  const std::string path = folder.path("model.safetensors");
  write_parameters(*parameters, StoredDtype::kF16, path);
  const Checkpoint written({path});
  const std::string name = "embeddings.LayerNorm.weight";
  const std::vector<int64_t> shape = {config.hidden_size};
  CHECK(stored_value(written, name, shape, 0) == 1.0f, "a tie was not rounded down to even");
  CHECK(stored_value(written, name, shape, 1) == 1.0f + 0x1p-9f, "a tie was not rounded up to even");
  CHECK(stored_value(written, name, shape, 2) == 65504.0f, "the largest value was not kept");
  const auto again = make_set(config, {});
  read_parameters(written, nullptr, 1, *again);
  for (const ParameterSlot* const slot : parameters->layout().slots()) {
    for (int64_t i = 0; i < slot->size(); ++i) {
      CHECK(again->at(*slot)[i] == f16_to_f32(f32_to_f16(parameters->at(*slot)[i])),
            slot->name + " is not what f16 holds");
    }
  }

  const std::string before = read_file(path);
  parameters->at(norm.gamma)[2] = 65520.0f;
  check_throws("beyond f16", ErrorCode::kPrecisionUnsupported, name,
               [&] { write_parameters(*parameters, StoredDtype::kF16, path); });
  for (const float value :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    parameters->at(norm.gamma)[2] = value;
    for (const StoredDtype dtype : {StoredDtype::kF16, StoredDtype::kF32}) {
      check_throws("not finite", ErrorCode::kCheckpointInvalid, name,
                   [&] { write_parameters(*parameters, dtype, path); });
    }
  }
  CHECK(read_file(path) == before && folder.names().size() == 1, "a failed write left something behind");
  parameters->at(norm.gamma)[2] = 1.0f;
  check_throws("no folder", ErrorCode::kFileUnwritable, "no/such/folder",
               [&] { write_parameters(*parameters, StoredDtype::kF32, folder.path("no/such/folder")); });
}

TEST_CASE("heads that a checkpoint lacks are drawn, each by its seed alone") {
  EncoderConfig config = small_config();
  config.hidden_size = 64;
  config.vocab_size = 50;
  const TemporaryFolder folder;
  write_file(folder.path("in"),
             safetensors_bytes(encoder_tensors(config, {.prefix = "", .pooler = false, .num_labels = 3}),
                               DType::kF32));
  const Checkpoint checkpoint({folder.path("in")});
  const HeadShapes all{.pooler = true, .num_labels = 5, .relation = true, .mlm = true};
  const auto drawn = [&](const HeadShapes& heads, uint64_t seed) {
    auto parameters = make_set(config, heads);
    read_parameters(checkpoint, nullptr, seed, *parameters);
    return parameters;
  };
  const auto first = drawn(all, 7);
  check_equal(*drawn(all, 7), *first, "the same seed");
  const HeadSlots& head = first->layout().head;
  for (const ParameterSlot* const slot :
       {&head.pooler, &head.classifier, &head.relation, &head.mlm_transform}) {
    const float* const values = first->at(*slot);
    double squares = 0;
    for (int64_t i = 0; i < slot->size(); ++i) squares += static_cast<double>(values[i]) * values[i];
    // The deviation of n numbers' deviation is 1 / sqrt(2 n) of it: within five of them.
    const double n = static_cast<double>(slot->size());
    CHECK(std::abs(std::sqrt(squares / n) / 0.02 - 1) < 5 / std::sqrt(2 * n),
          slot->name + " is not drawn with deviation 0.02");
    CHECK(drawn(all, 8)->at(*slot)[0] != values[0], slot->name + " does not depend on the seed");
  }
  for (const ParameterSlot* const slot :
       {&head.pooler_bias, &head.classifier_bias, &head.relation_bias, &head.mlm_transform_bias,
        &head.mlm_layer_norm.beta, &head.mlm_bias}) {
    CHECK(std::all_of(first->at(*slot), first->at(*slot) + slot->size(), [](float v) { return v == 0.0f; }),
          slot->name + " is not 0");
  }
  CHECK(first->at(head.mlm_layer_norm.gamma)[0] == 1.0f, "gamma is not 1");
  const auto alone = drawn({.relation = true}, 7);
  CHECK(std::equal(first->at(head.relation), first->at(head.relation) + head.relation.size(),
                   alone->at(alone->layout().head.relation)),
        "a head depends on others");
  // As many labels as stored: read, not drawn.
  const auto read = drawn({.num_labels = 3}, 7);
  CHECK(read->at(read->layout().head.classifier)[0] ==
            stored_value(checkpoint, "classifier.weight", {3, config.hidden_size}, 0),
        "a stored classifier was drawn");
}

TEST_CASE("what must not be read is refused by name") {
  const EncoderConfig config = small_config();
  const int64_t E = config.hidden_size;
  std::vector<StoredValues> tensors = encoder_tensors(config, {.prefix = "bert.", .num_labels = 2});
  append(tensors, mlm_tensors(config));
  const TemporaryFolder folder;
  const auto read = [&](const std::vector<StoredValues>& stored) {
    write_file(folder.path("in"), safetensors_bytes(stored, DType::kF32));
    const Checkpoint checkpoint({folder.path("in")});
    const auto parameters = make_set(config, heads_of(config, checkpoint));
    read_parameters(checkpoint, nullptr, 1, *parameters);
  };
  read(tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& full = tensors[i].name;
    const std::string name = full.starts_with("bert.") ? full.substr(5) : full;
    std::vector<StoredValues> broken = tensors;
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      broken[i].values.back() = value;
      check_throws(full, ErrorCode::kCheckpointInvalid, name, [&] { read(broken); });
    }
    broken = tensors;
    broken.erase(broken.begin() + static_cast<std::ptrdiff_t>(i));
    check_throws(full + " missing", ErrorCode::kTensorMissing, name, [&] { read(broken); });
  }
  std::vector<StoredValues> broken = tensors;
  broken.back() = constant("cls.predictions.bias", {config.vocab_size + 1}, 0.0f);
  check_throws("shape", ErrorCode::kTensorShapeMismatch, "cls.predictions.bias", [&] { read(broken); });

  std::vector<StoredValues> tied = tensors;
  tied.push_back(tensor_named(tensors, "bert.embeddings.word_embeddings.weight"));
  tied.back().name = "cls.predictions.decoder.weight";
  read(tied);
  tied.back().values[static_cast<size_t>(2 * E + 1)] += 1.0f;
  check_throws("untied", ErrorCode::kCheckpointInvalid, "another row 2", [&] { read(tied); });
}

}  // namespace
}  // namespace elasticlm::test
