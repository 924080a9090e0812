// attention_backward/<S>/f32/<D>/<isa>: GFLOP/s of attention_backward on one thread, 12 heads, compact rows.
// Counts its five products, 10 S² D operations a head. Prints the median of the repetitions, p95, and the
// share of what registers alone reach (peak.h). Usage: attention_backward_bench [isa]

#include <cstdio>
#include <random>
#include <span>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/packed_matrix.h"
#include "isa_peak.h"
#include "kernels/training_kernels.h"
#include "times.h"

namespace elasticlm {
namespace {

void bench_shape(const TrainingKernels& kernels, int64_t num_rows, int64_t head_dim, double peak) {
  constexpr int64_t kHeads = 12;
  const int64_t ldqkv = round_up(3 * head_dim, kBlockColumns);
  const auto size = static_cast<size_t>(kHeads * num_rows * ldqkv);
  AlignedBuffer qkv(size);
  AlignedBuffer dqkv(size);
  AlignedBuffer dcontext(static_cast<size_t>(num_rows * kHeads * head_dim));
  AlignedBuffer scratch(static_cast<size_t>(kernels.attention_backward_scratch_floats(num_rows, head_dim)));
  std::minstd_rand random(1);
  std::normal_distribution<float> normal;
  for (float& element : std::span(qkv.data(), qkv.size())) element = normal(random);
  for (float& element : std::span(dcontext.data(), dcontext.size())) element = normal(random);
  AttentionBackwardArgs args;
  args.qkv = qkv.data();
  args.dcontext = dcontext.data();
  args.dqkv = dqkv.data();
  args.scratch = scratch.data();
  args.head_stride = num_rows * ldqkv;
  args.ldqkv = ldqkv;
  args.lddcontext = kHeads * head_dim;
  args.num_rows = num_rows;
  args.head_dim = head_dim;
  args.head_end = kHeads;
  args.scale = 0.1f;
  const bench::Times times = bench::measure([&] { kernels.attention_backward(args); });
  const double gflops =
      10.0 * kHeads * static_cast<double>(num_rows * num_rows * head_dim) / times.median * 1e-9;
  std::printf(
      "attention_backward/%ld/f32/%ld/%s  %.0f ns a head (median; p95 %.0f)  %.1f GFLOP/s  %.0f%% of %.0f\n",
      static_cast<long>(num_rows), static_cast<long>(head_dim), isa_name(kernels.isa),
      times.median / kHeads * 1e9, times.p95 / kHeads * 1e9, gflops, 100.0 * gflops / peak, peak);
}

}  // namespace
}  // namespace elasticlm

int main(int argc, char** argv) {
  using namespace elasticlm;
  const TrainingKernels& kernels = training_kernels(choose_isa(argc > 1 ? argv[1] : ""));
  const double peak = bench::measure_gflops(bench::peak_of(kernels.isa, Precision::kF32), 0.2);
  for (const int64_t head_dim : {32, 64}) {
    for (const int64_t num_rows : {16, 32, 64, 128, 256, 512}) {
      bench_shape(kernels, num_rows, head_dim, peak);
    }
  }
  return 0;
}
