// linear_forward in the shapes of MiniLM-L6 and BERT-base:
//
//   linear_bench [ISA] [PRECISION] [MAX SECONDS]
//
// An empty or missing ISA or PRECISION (f32, bf16, i8) is all of them; MAX SECONDS is for each line (0.3).
// One JSON object per line: rows (m), the kept depth and columns (k, n) of the layer's (ofK, ofN), median and
// best time in processor time of the thread, GFLOP/s, and both as shares of that precision's multiply-add
// peak, measured before each line (null where the instruction set has no instruction for it).
//
// Layers write what they write in a forward: "qkv" and "up" (GELU) bf16 unless the weights are f32, "out" and
// "down" f32 onto the residual. "cold" takes turns between as many copies of the weights as a model has of
// them, so that each comes from where it comes from when a whole model runs; "warm" uses one copy. "blocks"
// lists the kept weight blocks: "prefix", or "scattered" (every fourth block left out).
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/packed_matrix.h"
#include "isa_peak.h"
#include "kernels/kernel_table.h"

namespace elasticlm::bench {
namespace {

constexpr int kMinRepetitions = 9;
constexpr int kMaxRepetitions = 900;
constexpr double kPeakSeconds = 0.01;
// Four times the last-level cache of the machine that the shares were tuned on (Zen 4, 32 MB, 2026-11-24):
// more copies make no difference, but take long to fill.
constexpr int64_t kMaxColdBytes = int64_t{128} << 20;

struct Model {
  const char* name;
  int64_t hidden_size;
  int64_t num_layers;
};
constexpr Model kMiniLm = {"minilm", 384, 6};
constexpr Model kBertBase = {"bertbase", 768, 12};

struct Layer {
  const char* name;
  int64_t columns;
  int64_t depth;
  Activation activation = Activation::kNone;
  bool has_residual = false;
};

std::vector<Layer> layers_of(const Model& model) {
  const int64_t E = model.hidden_size;
  return {{.name = "qkv", .columns = 3 * E, .depth = E},
          {.name = "out", .columns = E, .depth = E, .has_residual = true},
          {.name = "up", .columns = 4 * E, .depth = E, .activation = Activation::kGelu},
          {.name = "down", .columns = E, .depth = 4 * E, .has_residual = true}};
}

// What a call keeps of a layer.
struct Kept {
  int64_t num_rows;
  int64_t columns;  // a prefix, or as many blocks with every fourth left out
  int64_t depth;    // a prefix
  bool scattered = false;
  bool warm = false;
};

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

std::vector<PackedMatrix> copies_of(const Model& model, const Layer& layer, Precision precision) {
  const auto bytes_of = [&](int64_t weights) { return weights * element_bytes(precision); };
  int64_t model_weights = 0;
  for (const Layer& other : layers_of(model)) model_weights += model.num_layers * other.columns * other.depth;
  const int64_t cold_bytes = std::min(bytes_of(model_weights), kMaxColdBytes);
  std::vector<PackedMatrix> copies;
  std::vector<float> column(static_cast<size_t>(layer.depth));
  for (int64_t i = 0; i < std::max<int64_t>(1, cold_bytes / bytes_of(layer.columns * layer.depth)); ++i) {
    PackedMatrix& matrix = copies.emplace_back(num_blocks_of(layer.columns), layer.depth, precision);
    for (int64_t n = 0; n < layer.columns; ++n) {
      for (size_t k = 0; k < column.size(); ++k)
        column[k] = static_cast<float>((static_cast<size_t>(n) * 7 + k * 3) % 11) * 0.01f - 0.05f;
      matrix.set_column(n, column);
    }
  }
  return copies;
}

// Rows of x in a precision.
struct Operand {
  std::vector<std::byte> x;
  std::vector<RowScale> scales;  // i8
  int64_t ld = 0;
};

Operand make_operand(int64_t num_rows, int64_t depth, Precision precision) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  const int64_t ld = words_of(depth, precision) * word_elements(precision);
  std::vector<float> f32;
  std::vector<uint16_t> bf16;
  std::vector<int8_t> i8;
  std::vector<RowScale> scales(static_cast<size_t>(precision == Precision::kI8 ? num_rows : 0));
  for (int64_t i = 0; i < num_rows * ld; ++i) {
    const float value = normal(generator);
    if (precision == Precision::kF32) f32.push_back(value);
    if (precision == Precision::kBF16) bf16.push_back(f32_to_bf16(value));
    if (precision == Precision::kI8) {
      i8.push_back(static_cast<int8_t>(std::clamp(value * 40.0f, -127.0f, 127.0f)));
      scales[static_cast<size_t>(i / ld)].sum += i % ld < depth ? i8.back() : 0;
    }
  }
  for (RowScale& scale : scales) scale.scale = 1.0f / 40.0f;
  const auto bytes = precision == Precision::kF32    ? std::as_bytes(std::span(f32))
                     : precision == Precision::kBF16 ? std::as_bytes(std::span(bf16))
                                                     : std::as_bytes(std::span(i8));
  return {{bytes.begin(), bytes.end()}, std::move(scales), ld};
}

std::vector<ColumnRun> kept_columns(const Kept& kept) {
  const int64_t num_blocks = num_blocks_of(kept.columns);
  if (!kept.scattered) return {{.block_begin = 0, .num_blocks = num_blocks, .y_offset = 0}};
  std::vector<ColumnRun> runs;
  for (int64_t block = 0, written = 0; written < num_blocks; ++block) {
    if (block % 4 == 3) continue;
    runs.push_back({.block_begin = block, .num_blocks = 1, .y_offset = written++ * kBlockColumns});
  }
  return runs;
}

struct Times {
  double median_seconds;
  double best_seconds;
  int repetitions;
};

double flops_of(const Kept& kept) {
  return 2.0 * static_cast<double>(kept.num_rows * kept.depth * kept.columns);
}

class LayerBench {
 public:
  LayerBench(Isa isa, Precision precision, const Model& model, const Layer& layer, double max_seconds)
      : isa_(isa),
        precision_(precision),
        model_(model),
        layer_(layer),
        max_seconds_(max_seconds),
        copies_(copies_of(model, layer, precision)) {}

  void report(const Kept& kept) const {
    const PeakLoop peak_loop = peak_of(isa_, precision_);
    const double peak = peak_loop.run == nullptr ? 0.0 : measure_gflops(peak_loop, kPeakSeconds);
    const Times times = measure(kept);
    const double gflops = flops_of(kept) / times.median_seconds * 1e-9;
    const double weight_bytes = static_cast<double>(kept.depth * kept.columns * element_bytes(precision_));
    std::printf(
        "{\"op\":\"linear_forward\",\"isa\":\"%s\",\"precision\":\"%s\",\"model\":\"%s\","
        "\"layer\":\"%s\",\"m\":%d,\"k\":%d,\"n\":%d,\"ofK\":%d,\"ofN\":%d,",
        isa_name(isa_), precision_name(precision_), model_.name, layer_.name, static_cast<int>(kept.num_rows),
        static_cast<int>(kept.depth), static_cast<int>(kept.columns), static_cast<int>(layer_.depth),
        static_cast<int>(layer_.columns));
    std::printf(
        "\"blocks\":\"%s\",\"weights\":\"%s\",\"repetitions\":%d,\"medianUs\":%.2f,\"bestUs\":%.2f,"
        "\"gflops\":%.1f,\"weightGBps\":%.1f,",
        kept.scattered ? "scattered" : "prefix", kept.warm ? "warm" : "cold", times.repetitions,
        times.median_seconds * 1e6, times.best_seconds * 1e6, gflops,
        weight_bytes / times.median_seconds * 1e-9);
    if (peak > 0) {
      std::printf("\"peakGflops\":%.1f,\"shareOfPeak\":%.3f,\"bestShareOfPeak\":%.3f}\n", peak, gflops / peak,
                  flops_of(kept) / times.best_seconds * 1e-9 / peak);
    } else {
      std::printf("\"peakGflops\":null,\"shareOfPeak\":null,\"bestShareOfPeak\":null}\n");
    }
    std::fflush(stdout);
  }

 private:
  Times measure(const Kept& kept) const {
    const Operand operand = make_operand(kept.num_rows, kept.depth, precision_);
    const int64_t ldy = num_blocks_of(kept.columns) * kBlockColumns;
    std::vector<float> y(static_cast<size_t>(kept.num_rows * ldy));  // room for bf16 too
    const std::vector<ColumnRun> columns = kept_columns(kept);
    const std::vector<KRun> depth = {{.k_begin = 0, .k_count = kept.depth}};
    const std::vector<RowGroup> groups = {{.x = operand.x.data(),
                                           .scales = operand.scales.data(),
                                           .residual = layer_.has_residual ? y.data() : nullptr,
                                           .y = y.data(),
                                           .num_rows = kept.num_rows,
                                           .ldx = operand.ld,
                                           .ldy = ldy,
                                           .columns = columns,
                                           .depth = depth}};
    const bool writes_f32 = precision_ == Precision::kF32 || layer_.has_residual;
    const LinearForward forward = kernel_table(isa_).linear_forward(precision_);
    size_t copy = 0;
    const auto pass = [&] {
      forward({.weight = copies_[copy].view(),
               .activation = layer_.activation,
               .y_type = writes_f32 ? OutputType::kF32 : OutputType::kBF16,
               .groups = groups});
      copy = kept.warm ? 0 : (copy + 1) % copies_.size();
    };

    // One sample is 0.1 ms or longer, so that the clock's own cost (half a microsecond) does not show.
    pass();
    const double first = thread_seconds();
    pass();
    const double once = thread_seconds() - first;
    const int passes = once > 1e-4 ? 1 : 1 + static_cast<int>(1e-4 / once);
    std::vector<double> samples;
    const double begin = thread_seconds();
    for (int i = 0; i < kMaxRepetitions; ++i) {
      const double start = thread_seconds();
      if (i >= kMinRepetitions && start - begin > max_seconds_) break;
      for (int j = 0; j < passes; ++j) pass();
      samples.push_back((thread_seconds() - start) / passes);
    }
    std::ranges::sort(samples);
    return {samples[samples.size() / 2], samples.front(), static_cast<int>(samples.size())};
  }

  Isa isa_;
  Precision precision_;
  Model model_;
  Layer layer_;
  double max_seconds_;
  std::vector<PackedMatrix> copies_;
};

void run(Isa isa, Precision precision, double max_seconds) {
  for (const Model& model : {kMiniLm, kBertBase}) {
    for (const Layer& layer : layers_of(model)) {
      const LayerBench bench(isa, precision, model, layer, max_seconds);
      for (const int64_t m : {1, 2, 4, 8, 16, 32, 64, 128}) bench.report({m, layer.columns, layer.depth});
      if (model.hidden_size != kMiniLm.hidden_size) continue;
      // What a level keeps: columns of ffn_up, depth of ffn_down.
      const std::string_view name = layer.name;
      for (const int64_t m : {8, 128}) {
        for (const int64_t neurons : {160, 400, 768}) {
          if (name == "up") bench.report({m, neurons, layer.depth});
          if (name == "down") bench.report({m, layer.columns, neurons});
        }
        if (name != "up") continue;
        for (const bool warm : {true, false}) {
          for (const bool scattered : {false, true}) bench.report({m, 1152, layer.depth, scattered, warm});
        }
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::bench

int main(int argc, char** argv) {
  using namespace elasticlm;
  const std::string_view wanted_isa = argc > 1 ? argv[1] : "";
  const std::string_view wanted_precision = argc > 2 ? argv[2] : "";
  const double max_seconds = argc > 3 ? std::atof(argv[3]) : 0.3;
  bool found = false;
  for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
    if (!wanted_precision.empty() && wanted_precision != precision_name(precision)) continue;
    LinearForward last = nullptr;
    for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
      if (!isa_supported(isa) || (!wanted_isa.empty() && wanted_isa != isa_name(isa))) continue;
      found = true;
      // Two sets may share a kernel.
      const LinearForward forward = kernel_table(isa).linear_forward(precision);
      if (forward != last) bench::run(isa, precision, max_seconds);
      last = forward;
    }
  }
  if (found) return 0;
  std::fprintf(stderr, "expected an instruction set of this machine and f32, bf16 or i8, received %s %s\n",
               wanted_isa.data(), wanted_precision.data());
  return 2;
}
