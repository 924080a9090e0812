// Times whole forwards of a model with random weights:
//
//   encoder_bench [ISA] [SHAPE] [PRECISION] [THREADS] [MODEL]
//
// An empty or missing ISA is the best one, an empty SHAPE, PRECISION (f32, bf16, i8) or THREADS all of them;
// MODEL is minilm (default) or bertbase. One JSON object per line: shape, level (uniform prefix of each
// layer), threads, median and p95 of a forward, GFLOP/s by plan_flops, and its share of that precision's
// multiply-add peak, measured between the forwards. The levels of a shape take turns, so that noise meets all
// of them. Fields that begin with cpu count the processor time of all threads instead of the clock: on a
// machine that others use too, they tell what the code costs.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "exec/encoder.h"
#include "isa_peak.h"
#include "levels.h"

namespace elasticlm::bench {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// Processor time of all threads of this process.
double cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

constexpr double kPeakSeconds = 0.002;

struct Shape {
  std::string name;
  std::vector<int32_t> lengths;
};

std::vector<Shape> all_shapes() {
  std::vector<Shape> shapes = {{"1x16", {16}},
                               {"1x32", {32}},
                               {"1x64", {64}},
                               {"1x128", {128}},
                               {"8x128", std::vector<int32_t>(8, 128)}};
  Shape ragged{"ragged32", {}};
  for (int32_t i = 0; i < 32; ++i)
    ragged.lengths.push_back(8 + i * 37 % 32 * 120 / 31);  // 8 to 128, shuffled
  shapes.push_back(ragged);
  return shapes;
}

EncoderConfig config_of(const std::string& model) {
  const bool is_base = model == "bertbase";
  if (!is_base && !model.empty() && model != "minilm") {
    std::fprintf(stderr, "expected minilm or bertbase for MODEL, received %s\n", model.c_str());
    std::exit(2);
  }
  EncoderConfig config;
  config.vocab_size = 1000;
  config.hidden_size = is_base ? 768 : 384;
  config.num_layers = is_base ? 12 : 6;
  config.num_heads = 12;
  config.intermediate_size = 4 * config.hidden_size;
  config.max_position_embeddings = 512;
  config.type_vocab_size = 2;
  return config;
}

constexpr double kLevels[] = {1.0, 0.5, 0.25, 0.1};

struct OwnedBatch {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  std::vector<int32_t> cu_seqlens = {0};
  std::vector<int32_t> structure_idx;
  Batch view() const { return {input_ids, token_type_ids, cu_seqlens, structure_idx}; }
};

OwnedBatch make_batch(const Shape& shape, int32_t structure) {
  OwnedBatch batch;
  for (const int32_t length : shape.lengths) {
    for (int32_t i = 0; i < length; ++i)
      batch.input_ids.push_back(static_cast<int32_t>(batch.input_ids.size() * 7 % 1000));
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.input_ids.size()));
    batch.structure_idx.push_back(structure);
  }
  batch.token_type_ids.resize(batch.input_ids.size());
  return batch;
}

double quantile(std::vector<double> values, double at) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(at * static_cast<double>(values.size() - 1))];
}

struct Milliseconds {
  double wall = 0;
  double cpu = 0;
};

// One forward as its job sees it: without the hand-over to the pool's thread.
Milliseconds time_forward(Encoder& encoder, ThreadPool& pool, const Batch& batch,
                          std::span<const Structure> structures, std::vector<float>& out) {
  const auto ended = std::make_shared<std::promise<Milliseconds>>();
  pool.submit([&, ended](int worker_idx) {
    const Clock::time_point begin = Clock::now();
    const double begin_cpu = cpu_ms();
    encoder.forward(batch, structures, {}, pool, worker_idx, out.data());
    ended->set_value({ms_since(begin), cpu_ms() - begin_cpu});
  });
  return ended->get_future().get();
}

void run_shape(Encoder& encoder, const Shape& shape, int num_threads) {
  constexpr double kBudgetMs = 2000;
  constexpr int kMostRounds = 60;
  constexpr size_t kNumLevels = std::size(kLevels);
  const EncoderConfig& config = encoder.weights().config;
  const Precision precision = encoder.weights().precision;
  const PeakLoop peak_loop = peak_of(encoder.isa(), precision);
  const std::vector<Structure> structures = even_structures(config, kLevels);
  ThreadPool pool(num_threads);
  std::vector<OwnedBatch> batches;
  for (size_t i = 0; i < kNumLevels; ++i) batches.push_back(make_batch(shape, static_cast<int32_t>(i)));
  std::vector<float> out(static_cast<size_t>(encoder.output_floats(batches[0].view(), Output::kPooled)));

  std::vector<std::vector<double>> wall(kNumLevels);
  std::vector<std::vector<double>> cpu(kNumLevels);
  std::vector<double> peaks;
  const Clock::time_point begin = Clock::now();
  for (int round = 0; round < kMostRounds && (round < 5 || ms_since(begin) < kBudgetMs); ++round) {
    peaks.push_back(peak_loop.run == nullptr ? 0.0 : measure_gflops(peak_loop, kPeakSeconds));
    for (size_t i = 0; i < kNumLevels; ++i) {
      // The first of two: its time counts the weights' way from memory that the other levels' turns have
      // evicted.
      time_forward(encoder, pool, batches[i].view(), structures, out);
      const Milliseconds time = time_forward(encoder, pool, batches[i].view(), structures, out);
      wall[i].push_back(time.wall);
      cpu[i].push_back(time.cpu);
    }
  }
  const double peak = quantile(peaks, 0.5);
  for (size_t i = 0; i < kNumLevels; ++i) {
    const Batch batch = batches[i].view();
    const double median_ms = quantile(wall[i], 0.5);
    const double cpu_median_ms = quantile(cpu[i], 0.5);
    const double gflop = plan_flops(config, structures, {batch.cu_seqlens, batch.structure_idx}) / 1e6;
    std::printf("{\"shape\":\"%s\",\"level\":%g,\"precision\":\"%s\",\"threads\":%d,\"isa\":\"%s\",",
                shape.name.c_str(), kLevels[i], precision_name(precision), num_threads,
                isa_name(effective_isa(encoder.isa(), precision)));
    std::printf("\"medianMs\":%.4f,\"p95Ms\":%.4f,\"gflops\":%.1f,\"timeOverLevel1\":%.3f,", median_ms,
                quantile(wall[i], 0.95), gflop / median_ms, median_ms / quantile(wall[0], 0.5));
    std::printf("\"cpuMs\":%.4f,\"cpuTimeOverLevel1\":%.3f,", cpu_median_ms,
                cpu_median_ms / quantile(cpu[0], 0.5));
    std::printf("\"peakGflops\":%.1f,\"shareOfPeak\":%.3f,\"cpuShareOfPeak\":%.3f}\n", peak,
                peak > 0 ? gflop / median_ms / (peak * num_threads) : 0.0,
                peak > 0 ? gflop / cpu_median_ms / peak : 0.0);
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace elasticlm::bench

int main(int argc, char** argv) {
  using namespace elasticlm;
  const auto argument = [&](int i) { return std::string(argc > i ? argv[i] : ""); };
  const auto is_wanted = [&](int i, const std::string& name) {
    return argument(i).empty() || argument(i) == name;
  };
  try {
    for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
      if (!is_wanted(3, precision_name(precision))) continue;
      Encoder encoder(random_weights(bench::config_of(argument(5)), 0, 1, precision), choose_isa(argument(1)),
                      2);
      for (const int num_threads : {1, 2}) {
        if (!is_wanted(4, std::to_string(num_threads))) continue;
        for (const bench::Shape& shape : bench::all_shapes()) {
          if (is_wanted(2, shape.name)) bench::run_shape(encoder, shape, num_threads);
        }
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
