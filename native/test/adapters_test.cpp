#include "exec/adapters.h"

#include <algorithm>
#include <limits>

#include "test/checkpoint_files.h"
#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

EncoderConfig config_of(int64_t hidden_size) {
  EncoderConfig config = small_config();
  config.num_heads = 1;
  config.hidden_size = hidden_size;
  return config;
}

struct StoredAdapter {
  std::vector<float> weight;  // [E, E]
  std::vector<float> bias;    // [E]
};

// Three adapters in a file, and the file's path.
class AdapterFile {
 public:
  AdapterFile(int64_t hidden_size, uint64_t seed) : E_(hidden_size), path_(folder_.path("adapters")) {
    Random random(seed);
    const float deviation = 1.0f / std::sqrt(static_cast<float>(E_));
    for (int i = 0; i < 3; ++i) {
      StoredAdapter adapter;
      for (int64_t j = 0; j < E_ * E_; ++j) adapter.weight.push_back(random.normal(deviation));
      for (int64_t j = 0; j < E_; ++j) adapter.bias.push_back(random.normal());
      adapters.push_back(adapter);
    }
    write();
  }

  void write() const {
    std::vector<StoredValues> tensors;
    for (size_t i = 0; i < adapters.size(); ++i) {
      const std::string name = "elastic_adapters." + std::to_string(i);
      tensors.push_back({name + ".weight", {E_, E_}, adapters[i].weight});
      tensors.push_back({name + ".bias", {E_}, adapters[i].bias});
    }
    write_file(path_, safetensors_bytes(tensors, DType::kF32));
  }

  Adapters load(const std::vector<int32_t>& adapter_idx, Isa isa) const {
    return load(adapter_idx, isa, config_of(E_));
  }
  Adapters load(const std::vector<int32_t>& adapter_idx, Isa isa, const EncoderConfig& config) const {
    return Adapters({.config = config, .paths = {path_}, .adapter_idx = adapter_idx, .isa = isa});
  }

  std::vector<StoredAdapter> adapters;

 private:
  const TemporaryFolder folder_;
  const int64_t E_;
  const std::string path_;
};

std::vector<float> random_vectors(int64_t size, uint64_t seed) {
  Random random(seed);
  std::vector<float> vectors;
  for (int64_t i = 0; i < size; ++i) vectors.push_back(random.normal());
  return vectors;
}

// Of x + W x + b: a chain of E products and the bias, then the sum; the norm as in pooling_test.
std::vector<Bound> exact(const float* x, const StoredAdapter* adapter, int64_t E, bool normalize) {
  std::vector<Bound> bounds(static_cast<size_t>(E));
  double squares = 0.0;
  double error_squares = 0.0;
  for (int64_t n = 0; n < E; ++n) {
    Bound& bound = bounds[static_cast<size_t>(n)];
    bound.value = x[n];
    if (adapter != nullptr) {
      double sum = adapter->bias[static_cast<size_t>(n)];
      double magnitude = std::abs(sum);
      for (int64_t k = 0; k < E; ++k) {
        const double product = static_cast<double>(adapter->weight[static_cast<size_t>(n * E + k)]) * x[k];
        sum += product;
        magnitude += std::abs(product);
      }
      bound.value += sum;
      bound.tolerance = gamma_bound(static_cast<double>(E) + 2) * (magnitude + std::abs(x[n]));
    }
    squares += bound.value * bound.value;
    error_squares += bound.tolerance * bound.tolerance;
  }
  if (!normalize || squares == 0.0) return bounds;
  const double norm = std::sqrt(squares);
  for (Bound& bound : bounds) {
    bound.value /= norm;
    bound.tolerance = 2 * (bound.tolerance / norm +
                           std::abs(bound.value) * (std::sqrt(error_squares) / norm + 2 * kUnitRoundoff));
  }
  return bounds;
}

TEST_CASE("adapters against f64, odd sizes, SubLMs with and without, normalised or not") {
  const std::vector<int32_t> adapter_idx = {-1, 2, 0, 2};
  for (const int64_t E : {1, 7, 16, 40, 384}) {
    const AdapterFile file(E, 1);
    for (const Isa isa : supported_isas()) {
      const Adapters adapters = file.load(adapter_idx, isa);
      for (const bool normalize : {false, true}) {
        const std::vector<int32_t> structure_idx = {3, 0, 1, 2, 2, 0, 1, 1, 3};
        const std::vector<float> before = random_vectors(std::ssize(structure_idx) * E, 2);
        std::vector<float> after = before;
        after.push_back(poison());
        adapters.apply(structure_idx, normalize, after.data());
        CHECK(is_poison(after.back()), "wrote behind the vectors");
        WorstError worst;
        for (int64_t b = 0; b < std::ssize(structure_idx); ++b) {
          const int32_t adapter = adapter_idx[static_cast<size_t>(structure_idx[static_cast<size_t>(b)])];
          const StoredAdapter* const stored =
              adapter < 0 ? nullptr : &file.adapters[static_cast<size_t>(adapter)];
          const std::vector<Bound> expected = exact(before.data() + b * E, stored, E, normalize);
          for (int64_t e = 0; e < E; ++e) {
            worst.add(after[static_cast<size_t>(b * E + e)], expected[static_cast<size_t>(e)], {b, e});
          }
        }
        CHECK_WITHIN(worst, std::string(isa_name(isa)) + ", E " + std::to_string(E));
        for (int64_t b = 0; b < std::ssize(structure_idx); ++b) {
          std::vector<float> alone(before.begin() + b * E, before.begin() + (b + 1) * E);
          adapters.apply({&structure_idx[static_cast<size_t>(b)], 1}, normalize, alone.data());
          for (int64_t e = 0; e < E; ++e) {
            CHECK(same_bits(alone[static_cast<size_t>(e)], after[static_cast<size_t>(b * E + e)]),
                  "other bits alone, sequence " + std::to_string(b));
          }
        }
      }
    }
  }
}

TEST_CASE("a zero vector without an adapter stays zero") {
  const AdapterFile file(8, 3);
  std::vector<float> vector(8, 0.0f);
  const int32_t first = 0;
  file.load({-1, 0}, Isa::kRef).apply({&first, 1}, true, vector.data());
  CHECK(std::all_of(vector.begin(), vector.end(), [](float value) { return value == 0.0f; }), "not zero");
}

TEST_CASE("adapters that are missing, of another shape or not finite are refused") {
  AdapterFile file(8, 4);
  check_throws("none of this number", ErrorCode::kTensorMissing, "elastic_adapters.3.weight", [&] {
    file.load({-1, 3}, Isa::kRef);
  });
  check_throws("none of a huge number", ErrorCode::kTensorMissing, "elastic_adapters.2000000000.weight",
               [&] { file.load({2000000000}, Isa::kRef); });
  check_throws("another shape", ErrorCode::kTensorShapeMismatch, "elastic_adapters.0.weight",
               [&] { file.load({0}, Isa::kRef, config_of(16)); });
  file.adapters[1].bias[3] = std::numeric_limits<float>::infinity();
  file.write();
  check_throws("an infinity", ErrorCode::kCheckpointInvalid, "elastic_adapters.1.bias",
               [&] { file.load({1}, Isa::kRef); });
  CHECK(file.load({0, 2}, Isa::kRef).bytes() > 0, "the others are read");
}

}  // namespace
}  // namespace elasticlm::test
