#include "model/structure.h"

#include <limits>
#include <string>
#include <vector>

#include "test/check.h"
#include "test/checkpoint_files.h"

using namespace elasticlm;
using namespace elasticlm::test;

TEST_CASE("a structure out of bounds is refused with its layer") {
  const EncoderConfig config = small_config();  // 2 layers, 2 heads, 24 neurons: one whole block and one of 8
  struct Broken {
    const char* name;
    LayerStructure layer;
    const char* wording;
  };
  const std::vector<Broken> broken = {
      {"too many heads", {3, 24, {}, {}}, "0 to 2 for num_heads of layer 1, received 3"},
      {"negative heads", {-1, 24, {}, {}}, "received -1"},
      {"too many neurons", {2, 25, {}, {}}, "0 to 24 for num_neurons of layer 1"},
      {"negative neurons", {2, -1, {}, {}}, "received -1"},
      {"head past the end",
       {1, 24, {2}, {}},
       "positions below 2 for heads of layer 1, received 2 at place 0"},
      {"negative head", {1, 24, {-1}, {}}, "received -1 at place 0"},
      {"heads twice", {2, 24, {1, 1}, {}}, "received 1 at place 1"},
      {"heads falling", {2, 24, {1, 0}, {}}, "received 0 at place 1"},
      {"heads do not agree", {2, 24, {1}, {}}, "1, the number of listed heads, for num_heads of layer 1"},
      {"heads listed, none counted", {0, 24, {0}, {}}, "received 0"},
      {"block past the end", {2, 16, {}, {2}}, "positions below 2 for neuron_blocks of layer 1"},
      {"short block counted whole", {2, 32, {}, {0, 1}}, "0 to 24"},
      {"short block counted as 16", {2, 16, {}, {1}}, "8, the neurons in the listed blocks,"},
      {"whole block counted short", {2, 15, {}, {0}}, "16, the neurons in the listed blocks,"},
  };
  for (const Broken& one : broken) {
    Structure structure = Structure::full(config);
    structure.layers[1] = one.layer;
    check_throws(one.name, ErrorCode::kStructureInvalid, one.wording, [&] { validate(structure, config); });
  }
  Structure short_one = Structure::full(config);
  short_one.layers.pop_back();
  check_throws("layers", ErrorCode::kStructureInvalid, "2 layers for the structure, received 1",
               [&] { validate(short_one, config); });
}

TEST_CASE("every prefix and every list within bounds is accepted, nothing kept included") {
  const EncoderConfig config = small_config();
  validate(Structure::full(config), config);
  for (int64_t heads = 0; heads <= config.num_heads; ++heads) {
    for (int64_t neurons = 0; neurons <= config.intermediate_size; ++neurons) {
      validate(Structure{{{heads, neurons, {}, {}}, {0, 0, {}, {}}}}, config);
    }
  }
  validate(Structure{{{1, 8, {1}, {1}}, {2, 24, {0, 1}, {0, 1}}}}, config);
  validate(Structure{{{1, 5, {0}, {}}, {2, 16, {}, {0}}}}, config);
}

TEST_CASE("sizes that no encoder can have are refused by name") {
  struct Broken {
    const char* wording;
    void (*change)(EncoderConfig&);
  };
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  const std::vector<Broken> broken = {
      {"vocab_size", [](EncoderConfig& c) { c.vocab_size = 0; }},
      {"vocab_size", [](EncoderConfig& c) { c.vocab_size = int64_t{1} << 31; }},
      {"hidden_size", [](EncoderConfig& c) { c.hidden_size = -16; }},
      {"hidden_size", [](EncoderConfig& c) { c.hidden_size = kHuge; }},
      {"num_hidden_layers", [](EncoderConfig& c) { c.num_layers = 0; }},
      {"num_hidden_layers", [](EncoderConfig& c) { c.num_layers = 1 << 30; }},
      {"num_attention_heads", [](EncoderConfig& c) { c.num_heads = 0; }},
      {"intermediate_size", [](EncoderConfig& c) { c.intermediate_size = 0; }},
      {"max_position_embeddings", [](EncoderConfig& c) { c.max_position_embeddings = 0; }},
      {"type_vocab_size", [](EncoderConfig& c) { c.type_vocab_size = 0; }},
      {"16 for 3 heads", [](EncoderConfig& c) { c.num_heads = 3; }},
      {"a multiple of 8", [](EncoderConfig& c) { c.num_heads = 4; }},
      {"layer_norm_eps", [](EncoderConfig& c) { c.layer_norm_eps = 0; }},
      {"layer_norm_eps",
       [](EncoderConfig& c) { c.layer_norm_eps = std::numeric_limits<float>::quiet_NaN(); }},
      {"layer_norm_eps", [](EncoderConfig& c) { c.layer_norm_eps = std::numeric_limits<float>::infinity(); }},
      {"neurons of all layers",
       [](EncoderConfig& c) {
         c.num_layers = 4096;
         c.intermediate_size = 1 << 20;
       }},
      {"columns of the packed", [](EncoderConfig& c) { c.hidden_size = 1 << 30; }},
      {"elements of a feed-forward projection",
       [](EncoderConfig& c) {
         c.hidden_size = 1 << 15;
         c.intermediate_size = 1 << 29;
       }},
  };
  validate(small_config());
  for (const Broken& one : broken) {
    EncoderConfig config = small_config();
    one.change(config);
    check_throws(one.wording, ErrorCode::kConfigInvalid, one.wording, [&] { validate(config); });
  }
}
