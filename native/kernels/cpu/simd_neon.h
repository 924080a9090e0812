// The vector wrapper for NEON as every ARMv8-A processor has it: 4 floats in one register. Only for aarch64.
// What each name means stands in simd_avx512.h.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define ELASTICLM_INLINE [[gnu::always_inline]] inline

namespace elasticlm::neon {

inline constexpr int64_t kLanes = 4;
inline constexpr int kRegisters = 32;

struct Vec {
  float32x4_t v;
};

ELASTICLM_INLINE uint32x4_t bits_of(Vec a) { return vreinterpretq_u32_f32(a.v); }
ELASTICLM_INLINE Vec from_bits(uint32x4_t bits) { return {vreinterpretq_f32_u32(bits)}; }
ELASTICLM_INLINE uint32x4_t first_lanes(int64_t n) {
  constexpr uint32_t kLane[kLanes] = {0, 1, 2, 3};
  return vcltq_u32(vld1q_u32(kLane), vdupq_n_u32(static_cast<uint32_t>(n)));
}

ELASTICLM_INLINE Vec zero() { return {vdupq_n_f32(0.0f)}; }
ELASTICLM_INLINE Vec broadcast(float x) { return {vdupq_n_f32(x)}; }
ELASTICLM_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
ELASTICLM_INLINE void store(float* p, Vec a) { vst1q_f32(p, a.v); }
ELASTICLM_INLINE Vec load_first(const float* p, int64_t n) {
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
ELASTICLM_INLINE void store_first(float* p, Vec a, int64_t n) {
  float lanes[kLanes];
  store(lanes, a);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}
ELASTICLM_INLINE Vec keep_first(Vec a, int64_t n, Vec other) {
  return {vbslq_f32(first_lanes(n), a.v, other.v)};
}

ELASTICLM_INLINE uint16x4_t load_16bit(const void* p) {
  uint16x4_t half;
  std::memcpy(&half, p, sizeof(half));
  return half;
}
ELASTICLM_INLINE Vec load_f16(const void* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(load_16bit(p)))}; }
ELASTICLM_INLINE Vec load_bf16(const void* p) { return from_bits(vshlq_n_u32(vmovl_u16(load_16bit(p)), 16)); }

ELASTICLM_INLINE Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
ELASTICLM_INLINE Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
ELASTICLM_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
// By comparison: the instructions of that name give NaN when either is.
ELASTICLM_INLINE Vec min(Vec a, Vec b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
ELASTICLM_INLINE Vec max(Vec a, Vec b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
ELASTICLM_INLINE Vec abs(Vec a) { return {vabsq_f32(a.v)}; }
ELASTICLM_INLINE Vec copy_sign(Vec a, Vec b) { return {vbslq_f32(vdupq_n_u32(1u << 31), b.v, a.v)}; }
ELASTICLM_INLINE Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), yes.v, no.v)};
}
ELASTICLM_INLINE Vec round(Vec a) { return {vrndnq_f32(a.v)}; }

// As in simd_avx2.h.
inline constexpr float kMinPower = -126.0f;
ELASTICLM_INLINE Vec scale_by_power(Vec a, Vec n) {
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n.v), vdupq_n_s32(126));
  return (a + a) * from_bits(vreinterpretq_u32_s32(vshlq_n_s32(exponent, 23)));
}

ELASTICLM_INLINE Vec lookup16(const float* table, Vec index_bits) {
  const uint32x4_t index = vandq_u32(bits_of(index_bits), vdupq_n_u32(15));
  // Byte b of a lane is byte 4 index + b of the table.
  const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100), index, vdupq_n_u32(0x04040404));
  const uint8x16x4_t table_bytes = vld1q_u8_x4(reinterpret_cast<const uint8_t*>(table));
  return {vreinterpretq_f32_u8(vqtbl4q_u8(table_bytes, vreinterpretq_u8_u32(bytes)))};
}

ELASTICLM_INLINE float reduce_add(Vec a) {
  return vpadds_f32(vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v)));
}
ELASTICLM_INLINE float reduce_max(Vec a) { return vmaxvq_f32(a.v); }

ELASTICLM_INLINE void transpose(Vec (&rows)[kLanes]) {
  const float64x2_t ab_even = vreinterpretq_f64_f32(vtrn1q_f32(rows[0].v, rows[1].v));
  const float64x2_t ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(rows[0].v, rows[1].v));
  const float64x2_t cd_even = vreinterpretq_f64_f32(vtrn1q_f32(rows[2].v, rows[3].v));
  const float64x2_t cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(rows[2].v, rows[3].v));
  rows[0].v = vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even));
  rows[1].v = vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd));
  rows[2].v = vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even));
  rows[3].v = vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd));
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
  uint32x4_t exponent;
};
ELASTICLM_INLINE Power split_power(Vec a) {
  const uint32x4_t whole = vreinterpretq_u32_s32(vcvtnq_s32_f32(a.v));
  const uint32x4_t fraction = vdupq_n_u32(0x7fffff);
  return {from_bits(vbslq_u32(fraction, whole, vdupq_n_u32(0x3f800000))), vbicq_u32(whole, fraction)};
}
ELASTICLM_INLINE Vec join_power(Vec a, Power power) {
  return from_bits(vaddq_u32(bits_of(a), power.exponent));
}

}  // namespace elasticlm::neon

#undef ELASTICLM_ISA_NAMESPACE
#define ELASTICLM_ISA_NAMESPACE neon
#undef ELASTICLM_KERNEL
#define ELASTICLM_KERNEL(name) name##_neon
#include "kernels/cpu/vector_math.h"
