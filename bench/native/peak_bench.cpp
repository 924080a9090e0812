// What one core can do at most in each precision.
//
//   peak_bench [f32|bf16|i8|avx2F32]...      default: all
//
// prints one JSON line of GFLOP/s (a multiply-add counts two operations, also on integers), null where the
// processor lacks the instruction. It needs nothing but peak.h beside it, so that the benchmarks of whole
// models build it with a compiler alone.
#include "peak.h"

#include <algorithm>
#include <cstdio>
#include <string_view>

namespace {

using namespace elasticlm::bench;

constexpr double kMinSeconds = 0.04;

struct Peak {
  std::string_view name;
  bool supported;
  PeakLoop loop;
};

// In the order in which the line names them; the first supported one of a name counts.
const Peak kPeaks[] = {
#if defined(__x86_64__)
    {"f32", __builtin_cpu_supports("avx512f") != 0, kAvx512F32Peak},
    {"f32", __builtin_cpu_supports("avx2") != 0, kAvx2F32Peak},
#endif
    {"f32", true, kGenericF32Peak},
#if defined(__x86_64__)
    {"bf16", __builtin_cpu_supports("avx512bf16") != 0, kAvx512Bf16Peak},
    {"i8", __builtin_cpu_supports("avx512vnni") != 0, kAvx512I8Peak},
    {"avx2F32", __builtin_cpu_supports("avx2") != 0, kAvx2F32Peak},
#endif
};

constexpr std::string_view kNames[] = {"f32", "bf16", "i8", "avx2F32"};

bool is_wanted(std::string_view name, int argc, char** argv) {
  if (argc < 2) return true;
  return std::any_of(argv + 1, argv + argc, [&](std::string_view wanted) { return wanted == name; });
}

void print_peak(std::string_view name) {
  for (const Peak& peak : kPeaks) {
    if (peak.name != name || !peak.supported) continue;
    std::printf("\"%s\":%.2f", name.data(), measure_gflops(peak.loop, kMinSeconds));
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
