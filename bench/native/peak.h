// What one core can do at most in each precision: loops of multiply-adds that touch nothing but registers.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace elasticlm::bench {

// One loop takes 0.05 ms or more: long beside reading the clock, short beside a time slice.
inline constexpr int64_t kPeakSteps = 10'000;

// More independent chains than an instruction's latency times what a core starts per cycle (at most 5 x 2),
// with registers left for the operands: 16 registers without AVX-512, 32 with it.
inline constexpr int kPeakChains = 12;
inline constexpr int kWidePeakChains = 24;

// A multiply-add counts two operations, also on integers.
struct PeakLoop {
  void (*run)() = nullptr;
  double operations_per_step = 0;
};

#if defined(__x86_64__)
// Assembly, so that the compiler neither merges chains nor spills them. All values are zero: no rounding, no
// denormals.
#define ELASTICLM_PEAK_LOOP(name, target_isa, Vector, chains, instruction)    \
  [[gnu::target(target_isa)]] inline void name() {                            \
    Vector sum[chains] = {};                                                  \
    const Vector factor = {};                                                 \
    for (int64_t step = 0; step < kPeakSteps; ++step) {                       \
      _Pragma("GCC unroll 24") for (int i = 0; i < (chains); ++i) {           \
        asm volatile(instruction " %1, %1, %0" : "+v"(sum[i]) : "v"(factor)); \
      }                                                                       \
    }                                                                         \
  }

ELASTICLM_PEAK_LOOP(run_avx512_f32_loop, "avx512f", __m512, kWidePeakChains, "vfmadd231ps")
ELASTICLM_PEAK_LOOP(run_avx512_bf16_loop, "avx512bf16", __m512, kWidePeakChains, "vdpbf16ps")
ELASTICLM_PEAK_LOOP(run_avx512_i8_loop, "avx512vnni", __m512i, kWidePeakChains, "vpdpbusd")
ELASTICLM_PEAK_LOOP(run_avx2_f32_loop, "avx2,fma", __m256, kPeakChains, "vfmadd231ps")

#undef ELASTICLM_PEAK_LOOP

inline constexpr PeakLoop kAvx512F32Peak = {run_avx512_f32_loop, 2.0 * 16 * kWidePeakChains};
inline constexpr PeakLoop kAvx512Bf16Peak = {run_avx512_bf16_loop, 2.0 * 32 * kWidePeakChains};
inline constexpr PeakLoop kAvx512I8Peak = {run_avx512_i8_loop, 2.0 * 64 * kWidePeakChains};
inline constexpr PeakLoop kAvx2F32Peak = {run_avx2_f32_loop, 2.0 * 8 * kPeakChains};
#endif

inline void run_generic_f32_loop() {
  using Vector = float __attribute__((vector_size(16)));
  Vector sum[kPeakChains] = {};
  Vector factor = {};
  for (int64_t step = 0; step < kPeakSteps; ++step) {
    asm volatile("" : "+m"(factor));  // a value that the compiler does not know
#pragma GCC unroll 12
    for (int i = 0; i < kPeakChains; ++i) sum[i] = sum[i] * factor + factor;
  }
  for (const Vector& chain : sum) asm volatile("" : : "m"(chain));
}
inline constexpr PeakLoop kGenericF32Peak = {run_generic_f32_loop, 2.0 * 4 * kPeakChains};

// GFLOP/s by the best of as many loops as fit into `seconds`: some of them run undisturbed.
inline double measure_gflops(const PeakLoop& loop, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  double best = 1e9;
  const Clock::time_point start = Clock::now();
  while (since(start) < seconds) {
    const Clock::time_point loop_start = Clock::now();
    loop.run();
    best = std::min(best, since(loop_start));
  }
  return loop.operations_per_step * static_cast<double>(kPeakSteps) / best * 1e-9;
}

}  // namespace elasticlm::bench
