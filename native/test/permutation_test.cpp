#include "model/permutation.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "model/safetensors.h"
#include "test/check.h"
#include "test/checkpoint_files.h"

using namespace elasticlm;
using namespace elasticlm::test;

namespace {

using Order = std::vector<int32_t>;

Order identity(int64_t size) {
  Order order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

Permutation identity_of(const EncoderConfig& config) {
  const size_t L = static_cast<size_t>(config.num_layers);
  return {std::vector<Order>(L, identity(config.num_heads)),
          std::vector<Order>(L, identity(config.intermediate_size))};
}

Permutation shuffled(const EncoderConfig& config, uint64_t seed) {
  std::mt19937_64 generator(seed);
  Permutation permutation = identity_of(config);
  for (auto* lists : {&permutation.heads, &permutation.neurons}) {
    for (Order& order : *lists) std::shuffle(order.begin(), order.end(), generator);
  }
  return permutation;
}

Permutation inverse(const Permutation& permutation) {
  Permutation inverted = permutation;
  const auto invert = [](const std::vector<Order>& from, std::vector<Order>& to) {
    for (size_t l = 0; l < from.size(); ++l) {
      for (size_t i = 0; i < from[l].size(); ++i)
        to[l][static_cast<size_t>(from[l][i])] = static_cast<int32_t>(i);
    }
  };
  invert(permutation.heads, inverted.heads);
  invert(permutation.neurons, inverted.neurons);
  return inverted;
}

float stored(const Checkpoint& checkpoint, const std::string& name, const std::vector<int64_t>& shape,
             int64_t element) {
  const TensorView tensor = checkpoint.tensor(name, shape);
  uint16_t bits = 0;
  std::memcpy(&bits, tensor.data + 2 * element, 2);
  return f16_to_f32(bits);
}

// A limit on the size of files this process writes, lifted at the end: what a full disk looks like to a
// writer.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    previous_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit lowered{bytes, previous_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &lowered);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    ::signal(SIGXFSZ, previous_handler_);
  }

 private:
  rlimit previous_{};
  void (*previous_handler_)(int) = SIG_DFL;
};

EncoderConfig three_heads() {
  EncoderConfig config = small_config();
  config.num_heads = 3;
  config.hidden_size = 24;
  return config;
}

}  // namespace

TEST_CASE("each row, column and bias moves to the place that the permutation gives it, all else stays") {
  const EncoderConfig config = three_heads();
  const int64_t E = config.hidden_size;
  const int64_t F = config.intermediate_size;
  const int64_t D = config.head_dim();
  for (const std::string prefix : {"", "bert."}) {
    const std::vector<StoredValues> tensors = encoder_tensors(config, {.prefix = prefix, .num_labels = 2});
    const TemporaryFolder folder;
    const std::string from = folder.path("from");
    const std::string to = folder.path("to");
    write_file(from, safetensors_bytes(tensors, DType::kF16, {{"format", "pt"}}));
    const Permutation permutation = shuffled(config, 5);
    write_permuted_checkpoint(config, {from}, permutation, to);

    const Checkpoint result({to});
    CHECK(result.files()[0].metadata().at("format") == "pt", "metadata");
    CHECK(result.files()[0].entries().size() == tensors.size(), "number of tensors");
    for (const StoredValues& tensor : tensors) {
      const auto has = [&](const char* part) { return tensor.name.find(part) != std::string::npos; };
      const bool in_layer = has("encoder.layer.");
      const size_t l = in_layer ? static_cast<size_t>(tensor.name[prefix.size() + 14] - '0') : 0;
      const auto head_place = [&](int64_t i) {
        return permutation.heads[l][static_cast<size_t>(i / D)] * D + i % D;
      };
      const auto neuron_place = [&](int64_t i) -> int64_t {
        return permutation.neurons[l][static_cast<size_t>(i)];
      };
      const int64_t columns = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
      for (int64_t i = 0; i < static_cast<int64_t>(tensor.values.size()); ++i) {
        int64_t row = i / columns;
        int64_t column = i % columns;
        if (in_layer && has("attention.self.")) row = head_place(row);
        if (in_layer && has("attention.output.dense.weight")) column = head_place(column);
        if (in_layer && has("intermediate.dense")) row = neuron_place(row);
        if (in_layer && !has("attention") && has("output.dense.weight")) column = neuron_place(column);
        const float expected = tensor.values[static_cast<size_t>(row * columns + column)];
        const float found = stored(result, tensor.name, tensor.shape, i);
        CHECK(found == expected, tensor.name + " element " + std::to_string(i) + ": " +
                                     std::to_string(found) + " instead of " + std::to_string(expected));
      }
    }
    CHECK(E == 24 && F == 24, "the sizes that the names above are read with");
  }
}

TEST_CASE("a permutation and its inverse give back the same file, byte for byte, in every dtype") {
  const EncoderConfig config = three_heads();
  const TemporaryFolder folder;
  const auto path = [&](const char* name) { return folder.path(name); };
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    write_file(path("a"),
               safetensors_bytes(encoder_tensors(config, {.prefix = "bert.", .num_labels = 1}), dtype));
    write_permuted_checkpoint(config, {path("a")}, identity_of(config), path("b"));
    const Permutation permutation = shuffled(config, 9);
    write_permuted_checkpoint(config, {path("b")}, permutation, path("c"));
    CHECK(read_file(path("c")) != read_file(path("b")), "the permutation changes nothing");
    write_permuted_checkpoint(config, {path("c")}, inverse(permutation), path("c"));  // over its own input
    CHECK(read_file(path("c")) == read_file(path("b")), std::string("bytes differ for ") + dtype_name(dtype));
  }
}

TEST_CASE("shards, foreign dtypes and odd names are carried into one aligned file") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  const std::string first = folder.path("first");
  const std::string second = folder.path("second");
  const std::string odd =
      R"({"__metadata__":{"k\"\u0001":"v\\"},"a\u0000\"\u20ac":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
      R"("n":{"dtype":"I64","shape":[1],"data_offsets":[3,11]},"e":{"dtype":"F64","shape":[0],"data_offsets":[11,11]}})";
  write_file(first,
             safetensors_bytes(encoder_tensors(config, {.prefix = ""}), DType::kBF16, {{"format", "pt"}}));
  write_file(second, file_with_header(odd, "abc12345678"));
  const std::string output = folder.path("model.safetensors");
  write_permuted_checkpoint(config, {first, second}, shuffled(config, 2), output);

  const SafetensorsFile result(output);
  CHECK(result.metadata().at("format") == "pt" && result.metadata().at("k\"\x01") == "v\\",
        "metadata of both files");
  const auto text = [&](const std::string& name) {
    const SafetensorsFile::Entry& entry = result.entries().at(name);
    return std::string(reinterpret_cast<const char*>(result.data(entry)), entry.end - entry.begin);
  };
  CHECK(text(std::string("a\0\"\xe2\x82\xac", 6)) == "abc" && text("n") == "12345678" && text("e").empty(),
        "bytes");
  for (const auto& [name, entry] : result.entries()) {
    const size_t bytes = safetensors_dtype_bits(entry.dtype) / 8;
    CHECK(reinterpret_cast<uintptr_t>(result.data(entry)) % bytes == 0, name + " is not aligned");
  }
}

TEST_CASE("what is no permutation is refused before anything is written") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  const std::string from = folder.path("from");
  write_file(from, safetensors_bytes(encoder_tensors(config, {.prefix = ""}), DType::kF32));
  struct Broken {
    const char* wording;
    void (*change)(Permutation&);
  };
  const std::vector<Broken> broken = {
      {"2 layers for the permutation of heads, received 1", [](Permutation& p) { p.heads.pop_back(); }},
      {"2 layers for the permutation of neurons, received 3",
       [](Permutation& p) { p.neurons.emplace_back(); }},
      {"heads of layer 1, received 1 positions", [](Permutation& p) { p.heads[1].pop_back(); }},
      {"received 2 at place 0", [](Permutation& p) { p.heads[0][0] = 2; }},
      {"received -1 at place 23", [](Permutation& p) { p.neurons[1][23] = -1; }},
      {"received 0 at place 5, a second time", [](Permutation& p) { p.neurons[0][5] = 0; }},
  };
  for (const Broken& one : broken) {
    Permutation permutation = identity_of(config);
    one.change(permutation);
    check_throws(one.wording, ErrorCode::kStructureInvalid, one.wording,
                 [&] { write_permuted_checkpoint(config, {from}, permutation, folder.path("to")); });
  }
  check_throws("missing tensor", ErrorCode::kTensorMissing, "encoder.layer.2", [&] {
    EncoderConfig deeper = config;
    deeper.num_layers = 3;
    write_permuted_checkpoint(deeper, {from}, identity_of(deeper), folder.path("to"));
  });
  CHECK(folder.names() == std::vector<std::string>{"from"}, "something was written");
}

TEST_CASE("a write that fails leaves the old file whole and no other behind") {
  const EncoderConfig config = small_config();
  const TemporaryFolder folder;
  const std::string path = folder.path("model.safetensors");
  const std::string bytes = safetensors_bytes(encoder_tensors(config, {.prefix = ""}), DType::kF32);
  write_file(path, bytes);
  for (const rlim_t limit : {rlim_t{0}, rlim_t{100}, rlim_t{bytes.size() - 1000}}) {
    const FileSizeLimit full_disk(limit);
    check_throws("full disk", ErrorCode::kFileUnwritable, "File too large",
                 [&] { write_permuted_checkpoint(config, {path}, shuffled(config, 1), path); });
    CHECK(folder.names() == std::vector<std::string>{"model.safetensors"}, "a temporary file is left");
    CHECK(read_file(path) == bytes, "the old file has changed");
  }
  CHECK(::mkdir(folder.path("folder").c_str(), 0700) == 0, "mkdir");
  const auto write_to = [&](const std::string& output) {
    return [&, output] { write_permuted_checkpoint(config, {path}, identity_of(config), output); };
  };
  check_throws("no folder", ErrorCode::kFileUnwritable, "No such file", write_to(folder.path("none/model")));
  check_throws("under a file", ErrorCode::kFileUnwritable, "Not a directory", write_to(path + "/model"));
  check_throws("onto a folder", ErrorCode::kFileUnwritable, "directory", write_to(folder.path("folder")));
  CHECK(::rmdir(folder.path("folder").c_str()) == 0, "rmdir");
  check_throws("NUL", ErrorCode::kFileUnwritable, "NUL", write_to(path + std::string("\0x", 2)));
  CHECK(folder.names() == std::vector<std::string>{"model.safetensors"}, "something is left");
}

TEST_CASE("outgoing norms agree with sums in f64 over the stored values") {
  const EncoderConfig config = three_heads();
  const std::vector<StoredValues> tensors = encoder_tensors(config, {.prefix = "bert."});
  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  write_file(path, safetensors_bytes(tensors, DType::kF16));
  const OutgoingNorms norms = outgoing_norms(config, {path});
  const auto check_norms = [&](const std::string& suffix, int64_t group, const std::vector<double>& found) {
    size_t place = 0;
    for (int64_t l = 0; l < config.num_layers; ++l) {
      const StoredValues& weight = tensor_named(tensors, "bert.encoder.layer." + std::to_string(l) + suffix);
      const int64_t K = weight.shape[1];
      for (int64_t k_begin = 0; k_begin < K; k_begin += group, ++place) {
        double square = 0;  // exact: multiples of 2^-12 far below 2^41
        for (int64_t n = 0; n < weight.shape[0]; ++n) {
          for (int64_t k = k_begin; k < k_begin + group; ++k) {
            const double value = weight.values[static_cast<size_t>(n * K + k)];
            square += value * value;
          }
        }
        CHECK(found.at(place) == std::sqrt(square), suffix + " " + std::to_string(place));
      }
    }
    CHECK(found.size() == place, suffix + ": " + std::to_string(found.size()) + " norms");
  };
  check_norms(".attention.output.dense.weight", config.head_dim(), norms.heads);
  check_norms(".output.dense.weight", 1, norms.neurons);
}
