// The elementary functions and the widening loads of every instruction set, against long double and the
// definitions.

#include <array>
#include <cstddef>
#include <cstring>
#include <limits>

#include "core/dtype.h"
#include "test/kernel_support.h"

// This file is compiled for the baseline; each wrapper needs its own instruction set.
#include "kernels/cpu/simd_generic.h"
#if defined(__aarch64__)
#include "kernels/cpu/simd_neon.h"
#endif
#if defined(__x86_64__)
#include "kernels/cpu/x86_intrinsics.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "kernels/cpu/simd_avx2.h"
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#include "kernels/cpu/simd_avx512.h"
#pragma clang attribute pop
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "kernels/cpu/simd_avx2.h"
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include "kernels/cpu/simd_avx512.h"
#pragma GCC pop_options
#endif
#endif

namespace elasticlm::test {
namespace {

constexpr size_t kChunk = 4096;
using Chunk = std::array<float, kChunk>;
using Halves = std::array<uint16_t, kChunk>;

// What one instruction set makes of a chunk.
struct VectorMath {
  Isa isa;
  void (*exp2)(const Chunk& x, Chunk& y);
  void (*exp2_steps)(const Chunk& x, Chunk& y);
  void (*exp)(const Chunk& x, Chunk& y);
  void (*gelu)(const Chunk& x, Chunk& y);
  void (*tanh)(const Chunk& x, Chunk& y);
  void (*load_f16)(const Halves& x, Chunk& y);
  void (*load_bf16)(const Halves& x, Chunk& y);
  void (*transpose)(const Chunk& x, Chunk& y);  // the first lanes * lanes floats
  float (*reduce_add)(const float* x);
  float (*reduce_max)(const float* x);
  int64_t lanes;
};

#define ELASTICLM_MAP_CHUNK(simd, target, name)                              \
  target void simd##_##name(const Chunk& x, Chunk& y) {                      \
    for (size_t i = 0; i < kChunk; i += static_cast<size_t>(simd::kLanes)) { \
      simd::store(y.data() + i, simd::name(simd::load(x.data() + i)));       \
    }                                                                        \
  }
// Functions of several vectors at once, in place.
#define ELASTICLM_MAP_VECTORS(simd, target, name)                                        \
  target void simd##_##name(const Chunk& x, Chunk& y) {                                  \
    for (size_t i = 0; i < kChunk; i += 4 * static_cast<size_t>(simd::kLanes)) {         \
      simd::Vec some[4];                                                                 \
      for (int v = 0; v < 4; ++v) some[v] = simd::load(x.data() + i + v * simd::kLanes); \
      simd::name(some);                                                                  \
      for (int v = 0; v < 4; ++v) simd::store(y.data() + i + v * simd::kLanes, some[v]); \
    }                                                                                    \
  }
#define ELASTICLM_MAP_HALVES(simd, target, name)                             \
  target void simd##_##name(const Halves& x, Chunk& y) {                     \
    for (size_t i = 0; i < kChunk; i += static_cast<size_t>(simd::kLanes)) { \
      simd::store(y.data() + i, simd::name(x.data() + i));                   \
    }                                                                        \
  }
#define ELASTICLM_VECTOR_MATH(simd, target, isa)                                                  \
  ELASTICLM_MAP_VECTORS(simd, target, exp2)                                                       \
  ELASTICLM_MAP_VECTORS(simd, target, exp2_steps)                                                 \
  ELASTICLM_MAP_CHUNK(simd, target, exp)                                                          \
  ELASTICLM_MAP_CHUNK(simd, target, gelu)                                                         \
  ELASTICLM_MAP_CHUNK(simd, target, tanh)                                                         \
  ELASTICLM_MAP_HALVES(simd, target, load_f16)                                                    \
  ELASTICLM_MAP_HALVES(simd, target, load_bf16)                                                   \
  target void simd##_transpose(const Chunk& x, Chunk& y) {                                        \
    simd::Vec rows[simd::kLanes];                                                                 \
    for (int64_t i = 0; i < simd::kLanes; ++i) rows[i] = simd::load(x.data() + i * simd::kLanes); \
    simd::transpose(rows);                                                                        \
    for (int64_t i = 0; i < simd::kLanes; ++i) simd::store(y.data() + i * simd::kLanes, rows[i]); \
  }                                                                                               \
  target float simd##_reduce_add(const float* x) { return simd::reduce_add(simd::load(x)); }      \
  target float simd##_reduce_max(const float* x) { return simd::reduce_max(simd::load(x)); }      \
  constexpr VectorMath simd##_math = {isa,                                                        \
                                      simd##_exp2,                                                \
                                      simd##_exp2_steps,                                          \
                                      simd##_exp,                                                 \
                                      simd##_gelu,                                                \
                                      simd##_tanh,                                                \
                                      simd##_load_f16,                                            \
                                      simd##_load_bf16,                                           \
                                      simd##_transpose,                                           \
                                      simd##_reduce_add,                                          \
                                      simd##_reduce_max,                                          \
                                      simd::kLanes};

ELASTICLM_VECTOR_MATH(generic, , Isa::kGeneric)
#if defined(__aarch64__)
ELASTICLM_VECTOR_MATH(neon, , Isa::kNeon)
#endif
#if defined(__x86_64__)
ELASTICLM_VECTOR_MATH(avx2, [[gnu::target("avx2,fma,f16c")]], Isa::kAvx2)
ELASTICLM_VECTOR_MATH(avx512, [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]], Isa::kAvx512)
#endif

std::vector<VectorMath> supported_math() {
  std::vector<VectorMath> all = {generic_math};
#if defined(__aarch64__)
  all.push_back(neon_math);
#endif
#if defined(__x86_64__)
  if (isa_supported(Isa::kAvx2)) all.push_back(avx2_math);
  if (isa_supported(Isa::kAvx512)) all.push_back(avx512_math);
#endif
  return all;
}

using Function = void (*VectorMath::*)(const Chunk& x, Chunk& y);
using Exact = long double (*)(long double);

// Calls use(x, actual, exact, isa) for floats spread over all bit patterns of both signs (every 4099th, a
// prime, denormals included) and for every float near `densely` in steps of an ulp.
template <typename Use>
void sweep(Function function, Exact exact, const std::vector<float>& densely, const Use& use) {
  std::vector<float> inputs;
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 4099) {
    inputs.push_back(std::bit_cast<float>(bits));
    inputs.push_back(-std::bit_cast<float>(bits));
  }
  for (const float centre : densely) {
    for (int32_t step = -500; step <= 500; ++step) {
      inputs.push_back(std::bit_cast<float>(std::bit_cast<int32_t>(centre) + step));
    }
  }
  inputs.resize((inputs.size() + kChunk - 1) / kChunk * kChunk, 1.0f);
  const std::vector<VectorMath> all = supported_math();
  Chunk x, y;
  std::array<long double, kChunk> expected;
  for (size_t begin = 0; begin < inputs.size(); begin += kChunk) {
    std::memcpy(x.data(), inputs.data() + begin, sizeof(x));
    for (size_t i = 0; i < kChunk; ++i) expected[i] = exact(x[i]);
    for (const VectorMath& math : all) {
      (math.*function)(x, y);
      for (size_t i = 0; i < kChunk; ++i) use(x[i], y[i], expected[i], math.isa);
    }
  }
}

[[noreturn]] void fail_at(const char* name, Isa isa, float x, float actual, long double exact) {
  char text[160];
  std::snprintf(text, sizeof(text), "%s %s(%.9g): received %.9g, expected %.12Lg, relative error %.3Lg",
                isa_name(isa), name, static_cast<double>(x), static_cast<double>(actual), exact,
                std::fabs((actual - exact) / exact));
  throw Failure{text};
}

// `low` <= x <= `high`: relative error within `tolerance`.
void check_relative(const char* name, Function function, Exact exact, float low, float high,
                    long double tolerance) {
  sweep(function, exact, {1.0f, -1.0f, 0.5f, -0.5f, 0.625f, low, high},
        [&](float x, float actual, long double expected, Isa isa) {
          if (x < low || x > high) return;
          if (!(std::fabs(actual - expected) <= tolerance * std::fabs(expected)))
            fail_at(name, isa, x, actual, expected);
        });
}

Chunk chunk_of(const std::vector<float>& values) {
  Chunk chunk{};
  std::copy(values.begin(), values.end(), chunk.begin());
  return chunk;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// x and what f(x) must be, exactly; NaN for NaN.
void check_special(const char* name, Function function, const std::vector<float>& x,
                   const std::vector<float>& expected) {
  for (const VectorMath& math : supported_math()) {
    Chunk y;
    (math.*function)(chunk_of(x), y);
    for (size_t i = 0; i < x.size(); ++i) {
      const bool same = std::isnan(expected[i]) ? std::isnan(y[i]) : y[i] == expected[i];
      if (!same) fail_at(name, math.isa, x[i], y[i], expected[i]);
    }
  }
}

TEST_CASE("vector_math: exp2 keeps its relative error from the smallest result to the largest") {
  check_relative(
      "exp2", &VectorMath::exp2, [](long double x) { return std::exp2(x); }, -124.9f, 127.999f, 1e-7L);
}

TEST_CASE("vector_math: exp keeps its relative error from the smallest result to the largest") {
  check_relative(
      "exp", &VectorMath::exp, [](long double x) { return std::exp(x); }, -86.6f, 88.72f, 1.2e-7L);
}

TEST_CASE("vector_math: exponentials of 0, infinities, NaN and of what leaves the range") {
  const std::vector<float> x = {0.0f, -0.0f, -kInfinity, kNaN, -1000.0f, -3e38f, 1e-45f};
  const std::vector<float> y = {1.0f, 1.0f, 0.0f, kNaN, 0.0f, 0.0f, 1.0f};
  check_special("exp2", &VectorMath::exp2, x, y);
  check_special("exp", &VectorMath::exp, x, y);
  check_special("exp", &VectorMath::exp, {kInfinity, 1000.0f, 3e38f}, {kInfinity, kInfinity, kInfinity});
}

TEST_CASE("vector_math: exp2_steps keeps its relative error, and below its range is nearly 0") {
  constexpr float kStep = 0x1p23f;
  check_relative(
      "exp2_steps", &VectorMath::exp2_steps, [](long double x) { return std::exp2(x / 0x1p23L); },
      -125.9f * kStep, 126.9f * kStep, 1e-4L);
  for (const VectorMath& math : supported_math()) {
    const std::vector<float> x = {-126.0f * kStep, -127.0f * kStep, -1e4f * kStep, -3e38f, -kInfinity};
    Chunk y;
    math.exp2_steps(chunk_of(x), y);
    for (size_t i = 0; i < x.size(); ++i) {
      if (!(y[i] >= 0.0f && y[i] <= 0x1p-126f)) fail_at("exp2_steps", math.isa, x[i], y[i], 0.0L);
    }
  }
}

TEST_CASE("vector_math: results below the smallest normal number are tiny or 0, never wrong") {
  for (const VectorMath& math : supported_math()) {
    Chunk x{}, y;
    for (size_t i = 0; i < kChunk; ++i) x[i] = -124.0f - static_cast<float>(i) * 0.01f;
    math.exp2(x, y);
    for (size_t i = 0; i < kChunk; ++i) {
      const double exact = std::exp2(static_cast<double>(x[i]));
      if (!(y[i] >= 0.0f && std::abs(y[i] - exact) <= 0x1p-125)) fail_at("exp2", math.isa, x[i], y[i], exact);
    }
  }
}

TEST_CASE("vector_math: gelu is within 1e-7 max(1, |x|) of x times the normal distribution") {
  const Exact exact = [](long double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0L)); };
  // Interval bounds of the table stand at odd multiples of half its step.
  std::vector<float> bounds = {5.8f, -5.8f};
  for (int i = 0; i < 16; ++i) {
    bounds.push_back(0.375f * (static_cast<float>(i) + 0.5f));
    bounds.push_back(-bounds.back());
  }
  sweep(&VectorMath::gelu, exact, bounds, [](float x, float actual, long double expected, Isa isa) {
    const long double tolerance = 1e-7L * std::fmax(1.0L, std::fabs(x));
    if (!(std::fabs(actual - expected) <= tolerance)) fail_at("gelu", isa, x, actual, expected);
    // Small inputs keep their relative error, so that nothing is lost around 0.
    if (std::fabs(x) < 0.1f && std::fabs(x) > std::numeric_limits<float>::min() &&
        !(std::fabs(actual - expected) <= 3e-7L * std::fabs(expected))) {
      fail_at("gelu", isa, x, actual, expected);
    }
    // What vanishes must not grow with |x|.
    if (x < -6.0f && !(std::fabs(actual) < 1e-12f)) fail_at("gelu", isa, x, actual, expected);
  });
}

TEST_CASE("vector_math: gelu of zeros, infinities and NaN") {
  check_special("gelu", &VectorMath::gelu, {0.0f, -0.0f, kInfinity, kNaN, 3e38f},
                {0.0f, -0.0f, kInfinity, kNaN, 3e38f});
  for (const VectorMath& math : supported_math()) {
    Chunk y;
    math.gelu(chunk_of({-kInfinity, -3e38f}), y);
    CHECK(std::fabs(y[0]) < 1e-12f && std::fabs(y[1]) < 1e-12f,
          std::string(isa_name(math.isa)) + " gelu(-inf) is not 0");
  }
}

TEST_CASE("vector_math: tanh keeps its relative error everywhere") {
  check_relative(
      "tanh", &VectorMath::tanh, [](long double x) { return std::tanh(x); }, -3e38f, 3e38f, 1.5e-7L);
  check_special("tanh", &VectorMath::tanh, {0.0f, kInfinity, -kInfinity, kNaN, 50.0f, -50.0f},
                {0.0f, 1.0f, -1.0f, kNaN, 1.0f, -1.0f});
  for (const VectorMath& math : supported_math()) {
    Chunk y;
    math.tanh(chunk_of({-0.0f}), y);
    CHECK(std::signbit(y[0]), std::string(isa_name(math.isa)) + " tanh(-0) loses its sign");
  }
}

TEST_CASE("vector_math: every f16 and bf16 pattern is widened as core/dtype does it") {
  for (const VectorMath& math : supported_math()) {
    for (uint32_t begin = 0; begin <= 0xffff; begin += kChunk) {
      Halves halves;
      for (size_t i = 0; i < kChunk; ++i) halves[i] = static_cast<uint16_t>(begin + i);
      Chunk f16, bf16;
      math.load_f16(halves, f16);
      math.load_bf16(halves, bf16);
      for (size_t i = 0; i < kChunk; ++i) {
        const float from_f16 = f16_to_f32(halves[i]);
        const float from_bf16 = bf16_to_f32(halves[i]);
        const bool same = std::isnan(from_f16) ? std::isnan(f16[i]) : same_bits(f16[i], from_f16);
        const bool same_bf16 = std::isnan(from_bf16) ? std::isnan(bf16[i]) : same_bits(bf16[i], from_bf16);
        if (!same) fail_at("load_f16", math.isa, static_cast<float>(halves[i]), f16[i], from_f16);
        if (!same_bf16) fail_at("load_bf16", math.isa, static_cast<float>(halves[i]), bf16[i], from_bf16);
      }
    }
  }
}

TEST_CASE("vector_math: transpose and reductions see every lane") {
  for (const VectorMath& math : supported_math()) {
    const int64_t lanes = math.lanes;
    Chunk x{}, y;
    for (int64_t i = 0; i < lanes * lanes; ++i) x[static_cast<size_t>(i)] = static_cast<float>(i);
    math.transpose(x, y);
    for (int64_t i = 0; i < lanes * lanes; ++i) {
      CHECK(y[static_cast<size_t>(i)] == static_cast<float>(i % lanes * lanes + i / lanes),
            std::string(isa_name(math.isa)) + " transpose is wrong at " + std::to_string(i));
    }
    for (int64_t lane = 0; lane < lanes; ++lane) {
      float one[16] = {};
      std::fill_n(one, lanes, -1.0f);
      one[lane] = 3.0f;
      CHECK(math.reduce_max(one) == 3.0f, std::string(isa_name(math.isa)) + " reduce_max misses a lane");
      CHECK(math.reduce_add(one) == 4.0f - static_cast<float>(lanes),
            std::string(isa_name(math.isa)) + " reduce_add misses a lane");
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
