// What one core can do at most in each precision: loops of multiply-adds that touch nothing but registers.
//
//   peak_bench [f32|bf16|i8|avx2F32]...      default: all
//
// prints one JSON line of GFLOP/s (a multiply-add counts two operations, also on integers), null where the
// processor lacks the instruction. It needs no other file, so that the benchmarks of whole models build it
// with a compiler alone.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string_view>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;

// One loop takes 0.05 ms or more: long beside reading the clock, short beside a time slice.
constexpr int64_t kSteps = 10'000;
// The best of as many loops as fit into this: some of them run undisturbed.
constexpr double kMinSeconds = 0.04;

// More independent chains than an instruction's latency times what a core starts per cycle (at most 5 x 2),
// with registers left for the operands: 16 registers without AVX-512, 32 with it.
constexpr int kChains = 12;
constexpr int kWideChains = 24;

struct Peak {
  std::string_view name;
  bool supported;
  double operations_per_step;
  void (*loop)();
};

#if defined(__x86_64__)
// Assembly, so that the compiler neither merges chains nor spills them. All values are zero: no rounding, no
// denormals.
#define ELASTICLM_PEAK_LOOP(name, target_isa, Vector, chains, instruction)    \
  [[gnu::target(target_isa)]] void name() {                                   \
    Vector sum[chains] = {};                                                  \
    const Vector factor = {};                                                 \
    for (int64_t step = 0; step < kSteps; ++step) {                           \
      _Pragma("GCC unroll 24") for (int i = 0; i < (chains); ++i) {           \
        asm volatile(instruction " %1, %1, %0" : "+v"(sum[i]) : "v"(factor)); \
      }                                                                       \
    }                                                                         \
  }

ELASTICLM_PEAK_LOOP(loop_avx512_f32, "avx512f", __m512, kWideChains, "vfmadd231ps")
ELASTICLM_PEAK_LOOP(loop_avx512_bf16, "avx512bf16", __m512, kWideChains, "vdpbf16ps")
ELASTICLM_PEAK_LOOP(loop_avx512_i8, "avx512vnni", __m512i, kWideChains, "vpdpbusd")
ELASTICLM_PEAK_LOOP(loop_avx2_f32, "avx2,fma", __m256, kChains, "vfmadd231ps")

#undef ELASTICLM_PEAK_LOOP
#endif

void loop_generic_f32() {
  using Vector = float __attribute__((vector_size(16)));
  Vector sum[kChains] = {};
  Vector factor = {};
  for (int64_t step = 0; step < kSteps; ++step) {
    asm volatile("" : "+m"(factor));  // a value that the compiler does not know
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = sum[i] * factor + factor;
  }
  for (const Vector& chain : sum) asm volatile("" : : "m"(chain));
}

// In the order in which the line names them; the first supported one of a name counts.
const Peak kPeaks[] = {
#if defined(__x86_64__)
    {"f32", __builtin_cpu_supports("avx512f") != 0, 2.0 * 16 * kWideChains, loop_avx512_f32},
    {"f32", __builtin_cpu_supports("avx2") != 0, 2.0 * 8 * kChains, loop_avx2_f32},
#endif
    {"f32", true, 2.0 * 4 * kChains, loop_generic_f32},
#if defined(__x86_64__)
    {"bf16", __builtin_cpu_supports("avx512bf16") != 0, 2.0 * 32 * kWideChains, loop_avx512_bf16},
    {"i8", __builtin_cpu_supports("avx512vnni") != 0, 2.0 * 64 * kWideChains, loop_avx512_i8},
    {"avx2F32", __builtin_cpu_supports("avx2") != 0, 2.0 * 8 * kChains, loop_avx2_f32},
#endif
};

constexpr std::string_view kNames[] = {"f32", "bf16", "i8", "avx2F32"};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double measure_gflops(const Peak& peak) {
  double best = 1e9;
  const Clock::time_point start = Clock::now();
  while (seconds_since(start) < kMinSeconds) {
    const Clock::time_point loop_start = Clock::now();
    peak.loop();
    best = std::min(best, seconds_since(loop_start));
  }
  return peak.operations_per_step * static_cast<double>(kSteps) / best * 1e-9;
}

bool is_wanted(std::string_view name, int argc, char** argv) {
  if (argc < 2) return true;
  return std::any_of(argv + 1, argv + argc, [&](std::string_view wanted) { return wanted == name; });
}

void print_peak(std::string_view name) {
  for (const Peak& peak : kPeaks) {
    if (peak.name != name || !peak.supported) continue;
    std::printf("\"%s\":%.2f", name.data(), measure_gflops(peak));
    return;
  }
  std::printf("\"%s\":null", name.data());
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("{");
  const char* separator = "";
  for (const std::string_view name : kNames) {
    if (!is_wanted(name, argc, argv)) continue;
    std::printf("%s", separator);
    print_peak(name);
    separator = ",";
  }
  std::printf("}\n");
}
