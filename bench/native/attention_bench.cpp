// attention/<sequences>x<S>/f32/<D>/<isa>: GFLOP/s of attention_forward on one thread, 12 heads, compact
// rows. Prints the median of the repetitions, its share of what linear_forward reaches in the same run on a
// product that stays in cache (within a few per cent of the FMA peak), and p95. Usage: attention_bench [isa]

#include <cstdio>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/dtype.h"
#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"
#include "times.h"

namespace elasticlm {
namespace {

struct Shape {
  int64_t num_sequences;
  int64_t num_rows;  // S
  int64_t head_dim;  // D
};

// The GFLOP/s that linear_forward reaches on a small product held in cache.
double in_cache_product_gflops(const KernelTable& kernels) {
  constexpr int64_t kRows = 64, kK = 256, kBlocks = 12;
  PackedMatrix weight(kBlocks, kK);
  AlignedBuffer x(kRows * kK);
  AlignedBuffer y(kRows * kBlocks * kBlockColumns);
  const ColumnRun columns{0, kBlocks, 0};
  const KRun depth{0, kK};
  RowGroup group;
  group.x = x.data();
  group.y = y.data();
  group.num_rows = kRows;
  group.ldx = kK;
  group.ldy = kBlocks * kBlockColumns;
  group.columns = {&columns, 1};
  group.depth = {&depth, 1};
  LinearArgs args;
  args.weight = weight.view();
  args.groups = {&group, 1};
  const bench::Times times = bench::measure([&] {
    for (int i = 0; i < 16; ++i) kernels.linear_f32_forward(args);
  });
  return 16 * 2.0 * kRows * kK * kBlocks * kBlockColumns / times.median * 1e-9;
}

// What differs between the precisions of a kernel.
struct F32 {
  using Element = float;
  static constexpr const char* kName = "f32";
  static constexpr auto kForward = &KernelTable::attention_forward;
  static constexpr auto kScratchFloats = &KernelTable::attention_scratch_floats;
  static float from(float value) { return value; }
};
struct Bf16 {
  using Element = BF16;
  static constexpr const char* kName = "bf16";
  static constexpr auto kForward = &KernelTable::attention_bf16_forward;
  static constexpr auto kScratchFloats = &KernelTable::attention_bf16_scratch_floats;
  static BF16 from(float value) { return {f32_to_bf16(value)}; }
};

// On cache lines, as activations are.
template <typename Element>
struct AlignedArray {
  explicit AlignedArray(int64_t size)
      : size(size), data(new(std::align_val_t(64)) Element[static_cast<size_t>(size)]()) {}
  ~AlignedArray() { operator delete[](data, std::align_val_t(64)); }
  AlignedArray(const AlignedArray&) = delete;
  AlignedArray& operator=(const AlignedArray&) = delete;
  int64_t size;
  Element* data;
};

template <typename Kind>
void bench(const KernelTable& kernels, const Shape& shape, double peak) {
  using Element = typename Kind::Element;
  constexpr int64_t kHeads = 12;
  const int64_t S = shape.num_rows;
  const int64_t D = shape.head_dim;
  const int64_t ldqkv = round_up(3 * D, kBlockColumns);
  AlignedArray<Element> qkv(shape.num_sequences * kHeads * S * ldqkv);
  std::minstd_rand random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < qkv.size; ++i) qkv.data[i] = Kind::from(normal(random));
  AlignedArray<Element> context(shape.num_sequences * S * kHeads * D);
  AlignedBuffer scratch(static_cast<size_t>((kernels.*Kind::kScratchFloats)(S, D)));
  const bench::Times times = bench::measure([&] {
    for (int64_t sequence = 0; sequence < shape.num_sequences; ++sequence) {
      AttentionArgsOf<Element> args;
      args.qkv = qkv.data + sequence * kHeads * S * ldqkv;
      args.context = context.data + sequence * S * kHeads * D;
      args.scratch = scratch.data();
      args.head_stride = S * ldqkv;
      args.ldqkv = ldqkv;
      args.ldcontext = kHeads * D;
      args.num_rows = S;
      args.head_dim = D;
      args.head_end = kHeads;
      args.query_end = S;
      args.scale = 0.1f;
      (kernels.*Kind::kForward)(args);
    }
  });
  const auto num_heads = static_cast<double>(shape.num_sequences * kHeads);
  const double gflops = 4.0 * num_heads * static_cast<double>(S * S * D) / times.median * 1e-9;
  std::printf(
      "attention/%ldx%ld/%s/%ld/%s  %.0f ns a head (median; p95 %.0f)  %.1f GFLOP/s  %.0f%% of %.0f\n",
      static_cast<long>(shape.num_sequences), static_cast<long>(S), Kind::kName, static_cast<long>(D),
      isa_name(kernels.isa), times.median / num_heads * 1e9, times.p95 / num_heads * 1e9, gflops,
      100.0 * gflops / peak, peak);
}

}  // namespace
}  // namespace elasticlm

int main(int argc, char** argv) {
  using namespace elasticlm;
  const KernelTable& kernels = kernel_table(choose_isa(argc > 1 ? argv[1] : ""));
  const bool want[] = {argc < 3 || argv[2][0] == 'f', argc < 3 || argv[2][0] == 'b'};
  const double peak = in_cache_product_gflops(kernels);
  for (const int64_t head_dim : {32, 64}) {
    for (const Shape& shape : {Shape{1, 16, head_dim}, Shape{1, 32, head_dim}, Shape{1, 64, head_dim},
                               Shape{1, 128, head_dim}, Shape{1, 256, head_dim}, Shape{1, 512, head_dim}}) {
      if (want[0]) bench<F32>(kernels, shape, peak);
      if (want[1]) bench<Bf16>(kernels, shape, 2 * peak);
    }
  }
  return 0;
}
