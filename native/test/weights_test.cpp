#include "model/weights.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "test/check.h"
#include "test/checkpoint_files.h"
#include "test/cut_weights.h"

using namespace elasticlm;
using namespace elasticlm::test;

namespace {

float element(const PackedMatrix& matrix, int64_t n, int64_t k) { return matrix.view().value(n, k); }

std::string at(int64_t n, int64_t k) { return "(" + std::to_string(n) + ", " + std::to_string(k) + ")"; }

// W [N, K] and its bias stand at columns n_begin + n of `matrix`.
void check_holds(const PackedMatrix& matrix, int64_t n_begin, const std::vector<StoredValues>& tensors,
                 const std::string& name) {
  const StoredValues& weight = tensor_named(tensors, name + ".weight");
  const StoredValues& bias = tensor_named(tensors, name + ".bias");
  const int64_t N = weight.shape[0];
  const int64_t K = weight.shape[1];
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      const float expected = weight.values[static_cast<size_t>(n * K + k)];
      CHECK(element(matrix, n_begin + n, k) == expected, name + at(n, k) + ": " +
                                                             std::to_string(element(matrix, n_begin + n, k)) +
                                                             " instead of " + std::to_string(expected));
    }
    CHECK(matrix.view().bias[n_begin + n] == bias.values[static_cast<size_t>(n)],
          name + ".bias " + std::to_string(n));
  }
}

// Zero columns from n_begin to n_end, bias included.
void check_zero(const PackedMatrix& matrix, int64_t n_begin, int64_t n_end, const std::string& name) {
  for (int64_t n = n_begin; n < n_end; ++n) {
    for (int64_t k = 0; k < matrix.view().K; ++k)
      CHECK(element(matrix, n, k) == 0.0f, name + at(n, k) + " is not 0");
    CHECK(matrix.view().bias[n] == 0.0f, name + ": bias is not 0");
  }
}

bool same_bits(const float* a, const float* b, size_t size) {
  return size == 0 || std::memcmp(a, b, size * sizeof(float)) == 0;
}

void check_same(const PackedMatrix& a, const PackedMatrix& b, const std::string& name) {
  const PackedMatrixView x = a.view();
  const PackedMatrixView y = b.view();
  CHECK(x.K == y.K && x.num_blocks == y.num_blocks, name + ": sizes differ");
  const int64_t num_words = round_up(x.num_blocks, kPanelBlocks) * kBlockColumns * x.num_words();
  CHECK(std::memcmp(x.words, y.words, static_cast<size_t>(num_words * kWordBytes)) == 0,
        name + ": weights differ");
  CHECK(same_bits(x.bias, y.bias, static_cast<size_t>(x.num_blocks * kBlockColumns)),
        name + ": biases differ");
}

void check_same(const LayerNormWeights& a, const LayerNormWeights& b, const std::string& name) {
  CHECK(a.gamma.size() == b.gamma.size() && same_bits(a.gamma.data(), b.gamma.data(), a.gamma.size()),
        name + " gamma");
  CHECK(a.beta.size() == b.beta.size() && same_bits(a.beta.data(), b.beta.data(), a.beta.size()),
        name + " beta");
}

void check_same_packed(const ModelWeights& a, const ModelWeights& b, const std::string& label) {
  CHECK(a.packed_bytes() == b.packed_bytes(), label + ": packed_bytes");
  CHECK(a.layers.size() == b.layers.size(), label + ": layers");
  CHECK(a.num_labels == b.num_labels, label + ": num_labels");
  check_same(a.embedding_layer_norm, b.embedding_layer_norm, label + " embedding_layer_norm");
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const std::string layer = label + " layer " + std::to_string(l);
    check_same(a.layers[l].qkv_proj, b.layers[l].qkv_proj, layer + " qkv_proj");
    check_same(a.layers[l].attn_out_proj, b.layers[l].attn_out_proj, layer + " attn_out_proj");
    check_same(a.layers[l].attn_layer_norm, b.layers[l].attn_layer_norm, layer + " attn_layer_norm");
    check_same(a.layers[l].ffn_up, b.layers[l].ffn_up, layer + " ffn_up");
    check_same(a.layers[l].ffn_down, b.layers[l].ffn_down, layer + " ffn_down");
    check_same(a.layers[l].ffn_layer_norm, b.layers[l].ffn_layer_norm, layer + " ffn_layer_norm");
  }
  CHECK(a.pooler.has_value() == b.pooler.has_value(), label + ": pooler");
  if (a.pooler) check_same(*a.pooler, *b.pooler, label + " pooler");
  CHECK(a.classifier.has_value() == b.classifier.has_value(), label + ": classifier");
  if (a.classifier) check_same(*a.classifier, *b.classifier, label + " classifier");
}

using Tensors = std::vector<StoredValues>;

std::shared_ptr<const ModelWeights> load_from(const TemporaryFolder& folder, const EncoderConfig& config,
                                              const Tensors& tensors, DType dtype = DType::kF32,
                                              Precision precision = Precision::kF32) {
  const std::string path = folder.path("model.safetensors");
  write_file(path, safetensors_bytes(tensors, dtype));
  return load_weights(config, {path}, precision);
}

// The stored weights are those of `exact` in f32, rounded to the precision.
void check_rounded(const PackedMatrix& rounded, const PackedMatrix& exact, const std::string& name) {
  const PackedMatrixView view = rounded.view();
  CHECK(view.K == exact.view().K && view.num_blocks == exact.view().num_blocks, name + ": sizes differ");
  for (int64_t n = 0; n < view.num_blocks * kBlockColumns; ++n) {
    CHECK(view.bias[n] == exact.view().bias[n], name + ": bias " + std::to_string(n));
    float largest = 0;
    for (int64_t k = 0; k < view.K; ++k) largest = std::max(largest, std::abs(element(exact, n, k)));
    for (int64_t k = 0; k < view.K; ++k) {
      const float weight = element(exact, n, k);
      // bf16 exactly; i8 to the nearest of 255 steps, with one rounding of the scale and one of the quotient.
      const float expected = bf16_to_f32(f32_to_bf16(weight));
      const float tolerance = view.precision == Precision::kI8
                                  ? largest / 254.0f * (1 + 4 * 0x1p-24f) + 4 * 0x1p-24f * largest
                                  : 0;
      const float target = view.precision == Precision::kI8 ? weight : expected;
      CHECK(std::abs(element(rounded, n, k) - target) <= tolerance,
            name + at(n, k) + ": " + std::to_string(element(rounded, n, k)) + " instead of " +
                std::to_string(target));
    }
  }
}

bool is_word_table(const StoredValues& tensor) { return tensor.name == "embeddings.word_embeddings.weight"; }

}  // namespace

TEST_CASE(
    "every stored element stands where the packed layout says, for widths around the block and the tile") {
  struct Sizes {
    int64_t head_dim, num_heads, neurons, labels;
  };
  for (const Sizes& sizes :
       {Sizes{8, 1, 1, 1}, Sizes{8, 2, 24, 3}, Sizes{8, 3, 16, 17}, Sizes{16, 3, 49, 48},
        Sizes{24, 3, 47, 49}, Sizes{32, 2, 97, 2}, Sizes{40, 5, 130, 5}, Sizes{64, 2, 191, 100}}) {
    EncoderConfig config = small_config();
    config.num_heads = sizes.num_heads;
    config.hidden_size = sizes.num_heads * sizes.head_dim;
    config.intermediate_size = sizes.neurons;
    const Tensors tensors = encoder_tensors(config, {.prefix = "", .num_labels = sizes.labels});
    const TemporaryFolder folder;
    const auto weights = load_from(folder, config, tensors);
    const int64_t D = sizes.head_dim;
    const int64_t E = config.hidden_size;
    for (int64_t l = 0; l < config.num_layers; ++l) {
      const LayerWeights& layer = weights->layers[static_cast<size_t>(l)];
      const std::string name = "encoder.layer." + std::to_string(l) + ".";
      int64_t part = 0;
      for (const char* qkv : {"query", "key", "value"}) {
        const StoredValues& weight = tensor_named(tensors, name + "attention.self." + qkv + ".weight");
        const StoredValues& bias = tensor_named(tensors, name + "attention.self." + qkv + ".bias");
        for (int64_t row = 0; row < E; ++row) {
          const int64_t n = row / D * config.qkv_head_columns() + part * D + row % D;
          for (int64_t k = 0; k < E; ++k) {
            CHECK(element(layer.qkv_proj, n, k) == weight.values[static_cast<size_t>(row * E + k)],
                  qkv + at(row, k));
          }
          CHECK(layer.qkv_proj.view().bias[n] == bias.values[static_cast<size_t>(row)],
                qkv + std::to_string(row));
        }
        ++part;
      }
      for (int64_t h = 0; h < config.num_heads; ++h) {
        check_zero(layer.qkv_proj, h * config.qkv_head_columns() + 3 * D, (h + 1) * config.qkv_head_columns(),
                   "qkv");
      }
      check_holds(layer.attn_out_proj, 0, tensors, name + "attention.output.dense");
      check_holds(layer.ffn_up, 0, tensors, name + "intermediate.dense");
      check_zero(layer.ffn_up, sizes.neurons, round_up(sizes.neurons, kBlockColumns), "ffn_up");
      check_holds(layer.ffn_down, 0, tensors, name + "output.dense");
      const StoredValues& gamma = tensor_named(tensors, name + "output.LayerNorm.weight");
      CHECK(same_bits(layer.ffn_layer_norm.gamma.data(), gamma.values.data(), gamma.values.size()), "gamma");
    }
    check_holds(*weights->pooler, 0, tensors, "pooler.dense");
    check_holds(*weights->classifier, 0, tensors, "classifier");
    CHECK(weights->num_labels == sizes.labels, "num_labels");
  }
}

TEST_CASE(
    "f32, f16 and bf16, one file and shards, with and without the prefix, old names: the same packed bits") {
  const EncoderConfig config = small_config();
  const Tensors plain = encoder_tensors(config, {.prefix = "", .num_labels = 2});
  const TemporaryFolder reference_folder;
  const auto reference = load_from(reference_folder, config, plain);

  const TemporaryFolder folder;
  check_same_packed(*reference, *load_from(folder, config, plain, DType::kF16), "f16");
  check_same_packed(*reference, *load_from(folder, config, plain, DType::kBF16), "bf16");
  check_same_packed(*reference,
                    *load_from(folder, config, encoder_tensors(config, {.prefix = "bert.", .num_labels = 2})),
                    "prefix");

  Tensors old_names = plain;
  for (StoredValues& tensor : old_names) {
    const size_t place = tensor.name.find("LayerNorm.");
    if (place == std::string::npos) continue;
    const bool is_gain = tensor.name.back() == 't';
    tensor.name = tensor.name.substr(0, place) + (is_gain ? "LayerNorm.gamma" : "LayerNorm.beta");
  }
  check_same_packed(*reference, *load_from(folder, config, old_names), "old names");

  std::vector<std::string> shards;
  for (size_t i = 0; i < 3; ++i) {  // each shard in a dtype of its own
    Tensors part;
    for (size_t t = i; t < plain.size(); t += 3) part.push_back(plain[t]);
    shards.push_back(folder.path("shard-" + std::to_string(i)));
    write_file(shards.back(),
               safetensors_bytes(part, std::vector{DType::kF32, DType::kF16, DType::kBF16}[i]));
  }
  check_same_packed(*reference, *load_weights(config, shards), "shards");
}

TEST_CASE("bf16 and i8 round the layers' linear weights and nothing else") {
  EncoderConfig config = small_config();
  config.intermediate_size = 49;  // neither whole words nor whole blocks
  const Tensors tensors = encoder_tensors(config, {.prefix = "", .num_labels = 2});
  const TemporaryFolder folder;
  const auto exact = load_from(folder, config, tensors);
  CHECK(exact->precision == Precision::kF32, "precision");
  for (const Precision precision : {Precision::kBF16, Precision::kI8}) {
    const std::string name = precision_name(precision);
    const auto weights = load_from(folder, config, tensors, DType::kF32, precision);
    CHECK(weights->precision == precision, name + ": precision");
    CHECK(weights->packed_bytes() < exact->packed_bytes(), name + ": packed_bytes");
    for (size_t l = 0; l < exact->layers.size(); ++l) {
      const LayerWeights& layer = weights->layers[l];
      const LayerWeights& of = exact->layers[l];
      const std::string label = name + " layer " + std::to_string(l);
      check_rounded(layer.qkv_proj, of.qkv_proj, label + " qkv_proj");
      check_rounded(layer.attn_out_proj, of.attn_out_proj, label + " attn_out_proj");
      check_rounded(layer.ffn_up, of.ffn_up, label + " ffn_up");
      check_rounded(layer.ffn_down, of.ffn_down, label + " ffn_down");
      check_same(layer.attn_layer_norm, of.attn_layer_norm, label + " attn_layer_norm");
      check_same(layer.ffn_layer_norm, of.ffn_layer_norm, label + " ffn_layer_norm");
    }
    check_same(weights->embedding_layer_norm, exact->embedding_layer_norm, name + " embedding_layer_norm");
    check_same(*weights->pooler, *exact->pooler, name + " pooler");
    check_same(*weights->classifier, *exact->classifier, name + " classifier");
  }
}

TEST_CASE("a weight that bf16 would make infinite is refused by name, in bf16 alone") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  constexpr float kSmallestRefused = 0x1.ffp127f;  // half way from the largest bf16 to what would be the next
  for (const char* name :
       {"encoder.layer.1.attention.self.key.weight", "encoder.layer.0.output.dense.weight"}) {
    for (const float value : {kSmallestRefused, -std::numeric_limits<float>::max()}) {
      Tensors tensors = encoder_tensors(config, {.prefix = ""});
      for (StoredValues& tensor : tensors) {
        if (tensor.name == name) tensor.values[3] = value;
      }
      load_from(folder, config, tensors);
      load_from(folder, config, tensors, DType::kF32, Precision::kI8);
      check_throws(name, ErrorCode::kCheckpointInvalid, name,
                   [&] { load_from(folder, config, tensors, DType::kF32, Precision::kBF16); });
    }
  }
  Tensors tensors = encoder_tensors(config, {.prefix = ""});
  for (StoredValues& tensor : tensors)
    tensor.values.assign(tensor.values.size(), std::nextafter(kSmallestRefused, 0.0f));
  const auto weights = load_from(folder, config, tensors, DType::kF32, Precision::kBF16);
  CHECK(element(weights->layers[1].ffn_down, 15, 23) == 0x1.fep127f, "the largest value that bf16 holds");
}

TEST_CASE("tensors at any byte offset load the same bits") {
  const EncoderConfig config = small_config();
  const Tensors tensors = encoder_tensors(config, {.prefix = ""});
  const TemporaryFolder folder;
  const auto reference = load_from(folder, config, tensors);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::string bytes = safetensors_bytes(tensors, dtype);
    const size_t header_size = static_cast<unsigned char>(bytes[0]) | static_cast<unsigned char>(bytes[1])
                                                                          << 8;
    for (size_t shift = 1; shift <= 4; ++shift) {
      const std::string header = bytes.substr(8, header_size) + std::string(shift, ' ');
      const std::string path = folder.path("shifted");
      write_file(path, file_with_header(header, bytes.substr(8 + header_size)));
      check_same_packed(*reference, *load_weights(config, {path}), dtype_name(dtype) + std::to_string(shift));
    }
  }
}

TEST_CASE("embedding tables stay in the file's dtype and outlive the file's name") {
  const EncoderConfig config = small_config();
  const Tensors tensors = encoder_tensors(config, {.prefix = ""});
  const TemporaryFolder folder;
  const auto weights = load_from(folder, config, tensors, DType::kBF16);
  CHECK(std::remove(folder.path("model.safetensors").c_str()) == 0, "remove");
  CHECK(weights->word_embeddings.dtype == DType::kBF16, "dtype");
  CHECK(weights->word_embeddings.shape == (std::vector<int64_t>{config.vocab_size, config.hidden_size}),
        "shape");
  const std::vector<float>& expected = tensor_named(tensors, "embeddings.word_embeddings.weight").values;
  for (size_t i = 0; i < expected.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, weights->word_embeddings.data + 2 * i, 2);
    CHECK(bf16_to_f32(bits) == expected[i], "element " + std::to_string(i));
  }
}

TEST_CASE(
    "pooler and classifier are there exactly when the checkpoint has them, and half a head is refused") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  const auto bare = load_from(folder, config, encoder_tensors(config, {.prefix = "", .pooler = false}));
  CHECK(!bare->pooler && !bare->classifier && bare->num_labels == 0, "a bare encoder");
  const auto ranker =
      load_from(folder, config, encoder_tensors(config, {.prefix = "bert.", .num_labels = 1}));
  CHECK(ranker->pooler && ranker->classifier && ranker->num_labels == 1, "a ranker");

  for (const char* missing :
       {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"}) {
    Tensors tensors = encoder_tensors(config, {.prefix = "", .num_labels = 2});
    std::erase_if(tensors, [&](const StoredValues& tensor) { return tensor.name == missing; });
    check_throws(missing, ErrorCode::kTensorMissing, missing, [&] { load_from(folder, config, tensors); });
  }
  const Tensors no_labels_at_all = encoder_tensors(config, {.prefix = ""});
  for (const StoredValues& classifier : {StoredValues{"classifier.weight", {0, 16}, {}},
                                         StoredValues{"classifier.weight", {16}, std::vector<float>(16)},
                                         StoredValues{"classifier.weight", {}, {1.0f}},
                                         StoredValues{"classifier.weight", {2, 8}, std::vector<float>(16)}}) {
    Tensors tensors = no_labels_at_all;
    tensors.push_back(classifier);
    tensors.push_back({"classifier.bias", {2}, {0, 0}});
    check_throws("classifier shape", ErrorCode::kTensorShapeMismatch, "classifier.weight",
                 [&] { load_from(folder, config, tensors); });
  }
}

TEST_CASE("each tensor missing, misshapen, integer or not finite is refused by name") {
  const EncoderConfig config = small_config();
  const Tensors tensors = encoder_tensors(config, {.prefix = "", .pooler = false});
  const TemporaryFolder folder;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& name = tensors[i].name;
    Tensors missing = tensors;
    missing.erase(missing.begin() + static_cast<int64_t>(i));
    check_throws(name, ErrorCode::kTensorMissing, name, [&] { load_from(folder, config, missing); });

    Tensors misshapen = tensors;
    misshapen[i].shape.push_back(1);
    check_throws(name, ErrorCode::kTensorShapeMismatch, name, [&] { load_from(folder, config, misshapen); });

    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const float value :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
            -std::numeric_limits<float>::infinity()}) {
        Tensors bad = tensors;
        bad[i].values.back() = value;
        if (is_word_table(bad[i])) {
          load_from(folder, config, bad, dtype);  // documented: word embeddings are not looked at
        } else {
          check_throws(name, ErrorCode::kCheckpointInvalid, name,
                       [&] { load_from(folder, config, bad, dtype); });
        }
      }
    }
  }
}

TEST_CASE("the largest finite values and subnormals of each dtype are taken as they are") {
  const EncoderConfig config = small_config();
  struct Extreme {
    DType dtype;
    float value;
  };
  for (const Extreme& extreme : {Extreme{DType::kF32, std::numeric_limits<float>::max()},
                                 Extreme{DType::kF32, std::numeric_limits<float>::denorm_min()},
                                 Extreme{DType::kF16, 65504.0f}, Extreme{DType::kF16, -0x1p-24f},
                                 Extreme{DType::kBF16, -0x1.fep127f}, Extreme{DType::kBF16, 0x1p-133f}}) {
    Tensors tensors = encoder_tensors(config, {.prefix = ""});
    for (StoredValues& tensor : tensors) tensor.values.assign(tensor.values.size(), extreme.value);
    const TemporaryFolder folder;
    const auto weights = load_from(folder, config, tensors, extreme.dtype);
    const float loaded = element(weights->layers[1].ffn_down, 15, 23);
    CHECK(loaded == extreme.value, std::to_string(loaded) + " instead of " + std::to_string(extreme.value));
  }
}

TEST_CASE(
    "random weights are the same bits for a seed, differ between seeds, and have the stated deviations") {
  EncoderConfig config = small_config();
  config.hidden_size = 96;
  config.num_heads = 3;
  config.intermediate_size = 200;
  const auto one = random_weights(config, 3, 7);
  check_same_packed(*one, *random_weights(config, 3, 7), "same seed");
  CHECK(one->num_labels == 3 && one->classifier && one->pooler, "heads");
  const auto bare = random_weights(config, 0, 7);
  CHECK(bare->num_labels == 0 && !bare->classifier && bare->pooler, "no classifier for no labels");
  check_same(one->layers[1].ffn_up, bare->layers[1].ffn_up, "a tensor does not depend on which others exist");
  CHECK(element(random_weights(config, 3, 8)->layers[0].qkv_proj, 0, 0) !=
            element(one->layers[0].qkv_proj, 0, 0),
        "another seed");

  double sum = 0;
  double squares = 0;
  const int64_t count = config.intermediate_size * config.hidden_size;
  for (int64_t n = 0; n < config.intermediate_size; ++n) {
    for (int64_t k = 0; k < config.hidden_size; ++k) {
      const double value = element(one->layers[0].ffn_up, n, k);
      sum += value;
      squares += value * value;
    }
  }
  // Six standard errors of the mean and of the variance of `count` normal values.
  const double deviation = 0.02 * std::sqrt(768.0 / 96.0);
  const double error = 6.0 / std::sqrt(static_cast<double>(count));
  CHECK(std::abs(sum / static_cast<double>(count)) < error * deviation, "mean " + std::to_string(sum));
  const double ratio = squares / static_cast<double>(count) / (deviation * deviation);
  CHECK(std::abs(ratio - 1) < error * std::sqrt(2.0), "variance ratio " + std::to_string(ratio));
}

TEST_CASE("random weights have these very bits on every machine") {
  const auto weights = random_weights(small_config(), 2, 1);
  const float found[] = {element(weights->layers[0].qkv_proj, 0, 0),
                         element(weights->layers[1].ffn_down, 15, 23),
                         weights->embedding_layer_norm.gamma.data()[0], weights->classifier->view().bias[1]};
  // Computed from the definitions by a separate program (Python integers and numpy f32).
  const float expected[] = {-0x1.aaf11ep-4f, -0x1.970f66p-3f, 0x1.13339ap+0f, -0x1.148148p-5f};
  for (size_t i = 0; i < std::size(expected); ++i) {
    char text[80];
    std::snprintf(text, sizeof text, "value %zu: %a instead of %a", i, static_cast<double>(found[i]),
                  static_cast<double>(expected[i]));
    CHECK(found[i] == expected[i], text);
  }
}

TEST_CASE("a model cut out whole is the model, and a cut keeps exactly the listed heads and neurons") {
  const EncoderConfig config = small_config();
  const auto full = random_weights(config, 2, 3);
  check_same_packed(*full, *cut_model(*full, Structure::full(config)).weights, "whole");

  const CutModel cut = cut_model(*full, Structure{{{1, 8, {1}, {1}}, {0, 0, {}, {}}}});
  const LayerWeights& from = full->layers[0];
  const LayerWeights& to = cut.weights->layers[0];
  const int64_t columns = config.qkv_head_columns();
  for (int64_t k = 0; k < config.hidden_size; ++k) {
    for (int64_t n = 0; n < columns; ++n) {
      CHECK(element(to.qkv_proj, n, k) == element(from.qkv_proj, columns + n, k), "qkv " + at(n, k));
    }
    for (int64_t n = 0; n < 8; ++n)
      CHECK(element(to.ffn_up, n, k) == element(from.ffn_up, 16 + n, k), "up " + at(n, k));
  }
  for (int64_t n = 0; n < config.hidden_size; ++n) {
    for (int64_t k = 0; k < 8; ++k) {
      CHECK(element(to.attn_out_proj, n, k) == element(from.attn_out_proj, n, 8 + k), "out " + at(n, k));
      CHECK(element(to.ffn_down, n, k) == element(from.ffn_down, n, 16 + k), "down " + at(n, k));
    }
  }
  CHECK(cut.structure.layers[0] == (LayerStructure{1, 8, {}, {}}), "prefix of layer 0");
  CHECK(cut.structure.layers[1] == (LayerStructure{0, 0, {}, {}}), "nothing kept of layer 1");
  CHECK(cut.weights->layers[1].qkv_proj.bytes() == 0 && cut.weights->layers[1].ffn_up.bytes() == 0,
        "nothing packed");
}
