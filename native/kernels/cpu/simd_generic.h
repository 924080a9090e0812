// The vector wrapper for any target: 4 floats in the compiler's own vector type, which is one register on
// SSE2 and NEON. What each name means stands in simd_avx512.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define ELASTICLM_INLINE [[gnu::always_inline]] inline

namespace elasticlm::generic {

inline constexpr int64_t kLanes = 4;
#if defined(__aarch64__)
inline constexpr int kRegisters = 32;
#else
inline constexpr int kRegisters = 16;
#endif

using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
using UInts = uint32_t __attribute__((vector_size(16)));

struct Vec {
  Floats v;
};

ELASTICLM_INLINE Ints bits_of(Vec a) { return reinterpret_cast<Ints>(a.v); }
ELASTICLM_INLINE Vec from_bits(Ints bits) { return {reinterpret_cast<Floats>(bits)}; }
// Per lane: mask (all ones or all zeros) ? yes : no.
ELASTICLM_INLINE Vec select(Ints mask, Vec yes, Vec no) {
  return from_bits((mask & bits_of(yes)) | (~mask & bits_of(no)));
}
ELASTICLM_INLINE Ints first_lanes(int64_t n) {
  const Ints lane = {0, 1, 2, 3};
  return lane < static_cast<int32_t>(n);
}

ELASTICLM_INLINE Vec zero() { return {Floats{}}; }
ELASTICLM_INLINE Vec broadcast(float x) { return {Floats{x, x, x, x}}; }
ELASTICLM_INLINE Vec load(const float* p) {
  Vec a;
  std::memcpy(&a.v, p, sizeof(a.v));
  return a;
}
ELASTICLM_INLINE void store(float* p, Vec a) { std::memcpy(p, &a.v, sizeof(a.v)); }
ELASTICLM_INLINE Vec load_first(const float* p, int64_t n) {
  Vec a = zero();
  for (int64_t i = 0; i < n; ++i) a.v[i] = p[i];
  return a;
}
ELASTICLM_INLINE void store_first(float* p, Vec a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = a.v[i];
}
ELASTICLM_INLINE Vec keep_first(Vec a, int64_t n, Vec other) { return select(first_lanes(n), a, other); }

ELASTICLM_INLINE Ints load_16bit(const void* p) {
  uint16_t half[4];
  std::memcpy(half, p, sizeof(half));
  return Ints{half[0], half[1], half[2], half[3]};
}

ELASTICLM_INLINE Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
ELASTICLM_INLINE Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
ELASTICLM_INLINE Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
ELASTICLM_INLINE Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
// Fused where the target has it in hardware, else rounded twice.
ELASTICLM_INLINE Vec fma(Vec a, Vec b, Vec c) {
#if defined(__FP_FAST_FMAF) || defined(__aarch64__)
  Vec sum;
  for (int i = 0; i < kLanes; ++i) sum.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return sum;
#else
  return {a.v * b.v + c.v};
#endif
}
ELASTICLM_INLINE Vec fnma(Vec a, Vec b, Vec c) { return fma({-a.v}, b, c); }
ELASTICLM_INLINE Vec min(Vec a, Vec b) { return select(a.v < b.v, a, b); }
ELASTICLM_INLINE Vec max(Vec a, Vec b) { return select(a.v > b.v, a, b); }
ELASTICLM_INLINE Vec abs(Vec a) { return from_bits(bits_of(a) & INT32_MAX); }
ELASTICLM_INLINE Vec copy_sign(Vec a, Vec b) {
  return from_bits((bits_of(a) & INT32_MAX) | (bits_of(b) & INT32_MIN));
}
ELASTICLM_INLINE Vec select_less(Vec a, Vec b, Vec yes, Vec no) { return select(a.v < b.v, yes, no); }
ELASTICLM_INLINE Vec round(Vec a) {
  const Vec shift = broadcast(12582912.0f);  // 1.5 * 2^23: at this size the last bit is 1
  return (a + shift) - shift;
}

// As in simd_avx2.h.
inline constexpr float kMinPower = -126.0f;
ELASTICLM_INLINE Vec scale_by_power(Vec a, Vec n) {
  const Ints exponent = __builtin_convertvector(n.v, Ints) + 126;
  return (a + a) * from_bits(exponent << 23);
}

ELASTICLM_INLINE Vec load_bf16(const void* p) { return from_bits(load_16bit(p) << 16); }
ELASTICLM_INLINE Vec load_f16(const void* p) {
  const Ints half = load_16bit(p);
  const Ints magnitude = (half & 0x7fff) << 13;
  // The exponent's bias moves from 15 to 127 by an exact multiplication, which also normalises f16's
  // denormals; the largest exponent means infinity or NaN and is set apart.
  const Vec finite = from_bits(magnitude) * from_bits(Ints{} + (239 << 23));
  const Vec special = from_bits(magnitude | 0x7f800000);
  return copy_sign(select(magnitude >= (0x7c00 << 13), special, finite), from_bits(half << 16));
}

ELASTICLM_INLINE Vec lookup16(const float* table, Vec index_bits) {
  const Ints index = bits_of(index_bits) & 15;
  return {Floats{table[index[0]], table[index[1]], table[index[2]], table[index[3]]}};
}

ELASTICLM_INLINE float reduce_add(Vec a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
ELASTICLM_INLINE float reduce_max(Vec a) {
  const float even = a.v[0] > a.v[2] ? a.v[0] : a.v[2];
  const float odd = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return even > odd ? even : odd;
}

ELASTICLM_INLINE void transpose(Vec (&rows)[kLanes]) {
  const Floats a = rows[0].v, b = rows[1].v, c = rows[2].v, d = rows[3].v;
  const Floats ac_low = __builtin_shufflevector(a, c, 0, 4, 1, 5);
  const Floats ac_high = __builtin_shufflevector(a, c, 2, 6, 3, 7);
  const Floats bd_low = __builtin_shufflevector(b, d, 0, 4, 1, 5);
  const Floats bd_high = __builtin_shufflevector(b, d, 2, 6, 3, 7);
  rows[0].v = __builtin_shufflevector(ac_low, bd_low, 0, 4, 1, 5);
  rows[1].v = __builtin_shufflevector(ac_low, bd_low, 2, 6, 3, 7);
  rows[2].v = __builtin_shufflevector(ac_high, bd_high, 0, 4, 1, 5);
  rows[3].v = __builtin_shufflevector(ac_high, bd_high, 2, 6, 3, 7);
}

inline constexpr int64_t kReducedRows = 4;
template <typename Op>
ELASTICLM_INLINE Vec reduce_rows(const Vec (&rows)[kReducedRows], const Op& op) {
  Vec columns[kLanes] = {rows[0], rows[1], rows[2], rows[3]};
  transpose(columns);
  return op(op(columns[0], columns[2]), op(columns[1], columns[3]));
}

struct Power {
  Vec mantissa;
  Ints exponent;
};
ELASTICLM_INLINE Power split_power(Vec a) {
  const Ints whole = __builtin_convertvector(a.v, Ints);
  return {from_bits((whole & 0x7fffff) | 0x3f800000), whole & ~0x7fffff};
}
// In unsigned numbers, because bits that mean nothing (x out of range) may overflow signed ones.
ELASTICLM_INLINE Vec join_power(Vec a, Power power) {
  return from_bits(
      reinterpret_cast<Ints>(reinterpret_cast<UInts>(bits_of(a)) + reinterpret_cast<UInts>(power.exponent)));
}

}  // namespace elasticlm::generic

#undef ELASTICLM_ISA_NAMESPACE
#define ELASTICLM_ISA_NAMESPACE generic
#undef ELASTICLM_KERNEL
#define ELASTICLM_KERNEL(name) name##_generic
#include "kernels/cpu/vector_math.h"
