// linear_forward beside the FMA peak measured in the same process: one JSON object per line.
//
//   linear_bench [isa] [max seconds per shape]
//
// "cold" cycles through enough copies of the weights that each comes from outside the core's own cache, as it
// does when a whole model runs; "warm" uses one copy. "blocks" lists the kept weight blocks: "prefix", or
// "scattered" (every fourth block left out).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace elasticlm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kModelWeightBytes = int64_t{42} << 20;  // f32 linear weights of MiniLM-L6
constexpr int kMinRepetitions = 9;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Loops of independent multiply-adds, enough of them to hide their latency. Each returns something that
// depends on all.
constexpr int64_t kPeakSteps = 50'000;  // about 0.3 ms, shorter than a time slice
constexpr int kPeakChains = 12;

#if defined(__x86_64__)
[[gnu::target("avx512f")]] float peak_loop_avx512() {
  __m512 sum[2 * kPeakChains];
  for (int i = 0; i < 2 * kPeakChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(0.999f);
  for (int64_t step = 0; step < kPeakSteps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < 2 * kPeakChains; ++i) sum[i] = _mm512_fmadd_ps(sum[i], factor, factor);
  }
  for (int i = 1; i < 2 * kPeakChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}

[[gnu::target("avx2,fma")]] float peak_loop_avx2() {
  __m256 sum[kPeakChains];
  for (int i = 0; i < kPeakChains; ++i) sum[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(0.999f);
  for (int64_t step = 0; step < kPeakSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kPeakChains; ++i) sum[i] = _mm256_fmadd_ps(sum[i], factor, factor);
  }
  for (int i = 1; i < kPeakChains; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}
#endif

float peak_loop_generic() {
  using Vector = float __attribute__((vector_size(16)));
  Vector sum[kPeakChains];
  for (int i = 0; i < kPeakChains; ++i) sum[i] = Vector{} + static_cast<float>(i);
  const Vector factor = Vector{} + 0.999f;
  for (int64_t step = 0; step < kPeakSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kPeakChains; ++i) sum[i] = sum[i] * factor + factor;
  }
  for (int i = 1; i < kPeakChains; ++i) sum[0] = sum[0] + sum[i];
  return sum[0][0];
}

volatile float sink;

// Best of several, so that a moment without the processor does not lower it.
double measure_peak_gflops([[maybe_unused]] Isa isa) {
  double chains = kPeakChains * 4;
  float (*loop)() = peak_loop_generic;
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) {
    chains = 2 * kPeakChains * 16;
    loop = peak_loop_avx512;
  } else if (isa == Isa::kAvx2) {
    chains = kPeakChains * 8;
    loop = peak_loop_avx2;
  }
#endif
  double best = 1e9;
  for (int i = 0; i < 100; ++i) {
    const Clock::time_point start = Clock::now();
    sink = loop();
    best = std::min(best, seconds_since(start));
  }
  return 2.0 * chains * static_cast<double>(kPeakSteps) / best * 1e-9;
}

struct Shape {
  int64_t num_rows;
  int64_t depth;         // K of the weights
  int64_t columns;       // N of the weights
  int64_t kept_depth;    // a prefix
  int64_t kept_columns;  // a prefix, or as many blocks with every fourth left out
  bool scattered = false;
  bool warm = false;
  Activation activation = Activation::kNone;
};

struct Result {
  double median_seconds;
  double best_seconds;
  int repetitions;
};

void fill(AlignedBuffer& buffer, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < buffer.size(); ++i) buffer.data()[i] = normal(generator);
}

std::vector<ColumnRun> kept_columns(const Shape& shape) {
  const int64_t num_blocks = num_blocks_of(shape.kept_columns);
  if (!shape.scattered) return {{.block_begin = 0, .num_blocks = num_blocks, .y_offset = 0}};
  std::vector<ColumnRun> runs;
  for (int64_t block = 0, kept = 0; kept < num_blocks; ++block) {
    if (block % 4 == 3) continue;
    runs.push_back({.block_begin = block, .num_blocks = 1, .y_offset = kept++ * kBlockColumns});
  }
  return runs;
}

Result measure(LinearForward linear_forward, const Shape& shape, double max_seconds) {
  std::mt19937 generator(1);
  const int64_t bytes = shape.depth * shape.columns * int64_t{sizeof(float)};
  const int64_t num_copies = shape.warm ? 1 : std::max<int64_t>(1, kModelWeightBytes / bytes);
  std::vector<PackedMatrix> weights;
  for (int64_t i = 0; i < num_copies; ++i) {
    PackedMatrix& matrix = weights.emplace_back(num_blocks_of(shape.columns), shape.depth);
    for (int64_t n = 0; n < shape.columns; ++n) {
      for (int64_t k = 0; k < shape.depth; ++k)
        matrix.set(n, k, static_cast<float>((n * 7 + k * 3) % 11 - 5) * 0.01f);
    }
  }
  AlignedBuffer x(static_cast<size_t>(shape.num_rows * shape.kept_depth));
  fill(x, generator);
  const int64_t ldy = num_blocks_of(shape.kept_columns) * kBlockColumns;
  AlignedBuffer y(static_cast<size_t>(shape.num_rows * ldy));
  const std::vector<ColumnRun> columns = kept_columns(shape);
  const std::vector<KRun> depth = {{.k_begin = 0, .k_count = shape.kept_depth}};
  const std::vector<RowGroup> groups = {{.x = x.data(),
                                         .residual = nullptr,
                                         .y = y.data(),
                                         .num_rows = shape.num_rows,
                                         .ldx = shape.kept_depth,
                                         .ldy = ldy,
                                         .columns = columns,
                                         .depth = depth}};
  const auto pass = [&](int64_t copy) {
    linear_forward({.weight = weights[static_cast<size_t>(copy)].view(),
                    .activation = shape.activation,
                    .groups = groups});
  };

  // One sample is at least 0.2 ms long, so that the clock's own cost does not show.
  const double flops = 2.0 * static_cast<double>(shape.num_rows * shape.kept_depth * shape.kept_columns);
  const int64_t passes = std::max<int64_t>(1, static_cast<int64_t>(2e7 / flops));
  int64_t copy = 0;
  std::vector<double> samples;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kMinRepetitions * 100; ++i) {
    if (i > kMinRepetitions && seconds_since(begin) > max_seconds) break;
    const Clock::time_point start = Clock::now();
    for (int64_t j = 0; j < passes; ++j) {
      pass(copy);
      copy = (copy + 1) % num_copies;
    }
    if (i > 0) samples.push_back(seconds_since(start) / static_cast<double>(passes));
  }
  std::ranges::sort(samples);
  return {samples[samples.size() / 2], samples.front(), static_cast<int>(samples.size())};
}

void report(const KernelTable& kernels, double peak, const Shape& shape, double max_seconds) {
  const Result result = measure(kernels.linear_f32_forward, shape, max_seconds);
  const double flops = 2.0 * static_cast<double>(shape.num_rows * shape.kept_depth * shape.kept_columns);
  const double gflops = flops / result.median_seconds * 1e-9;
  std::printf(
      "{\"op\":\"linear_forward\",\"isa\":\"%s\",\"m\":%lld,\"k\":%lld,\"n\":%lld,\"ofK\":%lld,\"ofN\":%lld,"
      "\"blocks\":\"%s\",\"weights\":\"%s\",\"activation\":\"%s\",\"medianUs\":%.2f,\"repetitions\":%d,"
      "\"gflops\":%.1f,\"shareOfPeak\":%.3f,\"bestShareOfPeak\":%.3f,\"weightGBps\":%.1f}\n",
      isa_name(kernels.isa), static_cast<long long>(shape.num_rows), static_cast<long long>(shape.kept_depth),
      static_cast<long long>(shape.kept_columns), static_cast<long long>(shape.depth),
      static_cast<long long>(shape.columns), shape.scattered ? "scattered" : "prefix",
      shape.warm ? "warm" : "cold", shape.activation == Activation::kGelu ? "gelu" : "none",
      result.median_seconds * 1e6, result.repetitions, gflops, gflops / peak,
      flops / result.best_seconds * 1e-9 / peak,
      static_cast<double>(shape.kept_depth * shape.kept_columns * 4) / result.median_seconds * 1e-9);
  std::fflush(stdout);
}

void run(Isa isa, double max_seconds) {
  const KernelTable& kernels = kernel_table(isa);
  const double peak = measure_peak_gflops(isa);
  std::printf("{\"op\":\"peak\",\"isa\":\"%s\",\"gflops\":%.1f}\n", isa_name(isa), peak);
  for (const int64_t m : {1, 2, 4, 8, 16, 32, 128}) {
    report(kernels, peak, {m, 384, 1152, 384, 1152}, max_seconds);
    report(kernels, peak, {m, 384, 384, 384, 384}, max_seconds);
    report(kernels, peak,
           {.num_rows = m,
            .depth = 384,
            .columns = 1536,
            .kept_depth = 384,
            .kept_columns = 1536,
            .activation = Activation::kGelu},
           max_seconds);
    report(kernels, peak, {m, 1536, 384, 1536, 384}, max_seconds);
  }
  // What a level keeps: columns of ffn_up, depth of ffn_down.
  for (const int64_t m : {8, 128}) {
    for (const int64_t neurons : {160, 400, 768}) {
      report(kernels, peak, {m, 384, 1536, 384, neurons}, max_seconds);
      report(kernels, peak, {m, 1536, 384, neurons, 384}, max_seconds);
    }
    report(
        kernels, peak,
        {.num_rows = m, .depth = 384, .columns = 1536, .kept_depth = 384, .kept_columns = 1152, .warm = true},
        max_seconds);
    report(kernels, peak,
           {.num_rows = m,
            .depth = 384,
            .columns = 1536,
            .kept_depth = 384,
            .kept_columns = 1152,
            .scattered = true,
            .warm = true},
           max_seconds);
    report(kernels, peak,
           {.num_rows = m,
            .depth = 384,
            .columns = 1536,
            .kept_depth = 384,
            .kept_columns = 1152,
            .scattered = true},
           max_seconds);
  }
}

}  // namespace
}  // namespace elasticlm

int main(int argc, char** argv) {
  using namespace elasticlm;
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  const double max_seconds = argc > 2 ? std::atof(argv[2]) : 0.3;
  for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (isa_supported(isa) && (wanted.empty() || wanted == isa_name(isa))) run(isa, max_seconds);
  }
  return 0;
}
