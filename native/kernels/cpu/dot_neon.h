// Dot products over words of 32 bits for NEON as every ARMv8-A processor has it, without the later dot
// products of bytes (SDOT, USDOT) and of bf16 (BFDOT). What each name means stands in dot_avx512.h.
#pragma once

#include <cstring>

#include "core/precision.h"
#include "kernels/cpu/load_word.h"

namespace elasticlm::neon {

struct Words {
  uint32x4_t v;
};

ELASTICLM_INLINE Words load_words(const std::byte* p) {
  Words a;
  std::memcpy(&a.v, p, sizeof(a.v));
  return a;
}
ELASTICLM_INLINE Words broadcast_word(uint32_t word) { return {vdupq_n_u32(word)}; }
ELASTICLM_INLINE Vec as_floats(Words a) { return from_bits(a.v); }

inline constexpr int kRegistersPerBF16 = 2;
struct BF16Words {
  Vec first;
  Vec second;
};
ELASTICLM_INLINE BF16Words bf16_words(Words a) {
  return {from_bits(vshlq_n_u32(a.v, 16)), from_bits(vandq_u32(a.v, vdupq_n_u32(0xffff0000)))};
}
ELASTICLM_INLINE Vec dot(Vec sum, BF16Words x, BF16Words w) {
  return fma(x.second, w.second, fma(x.first, w.first, sum));
}

ELASTICLM_INLINE uint16x4_t round_to_bf16(Vec a) {
  const uint32x4_t bits = bits_of(a);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  return vaddhn_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
}
ELASTICLM_INLINE void store_bf16(BF16* p, Vec a) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), round_to_bf16(a));
}

ELASTICLM_INLINE void store_words(std::byte* p, Words a) { std::memcpy(p, &a.v, sizeof(a.v)); }

struct Sums {
  int32x4_t v;
};
ELASTICLM_INLINE Sums broadcast_sum(int32_t sum) { return {vdupq_n_s32(sum)}; }
ELASTICLM_INLINE Sums load_sums(const int32_t* p) { return {vld1q_s32(p)}; }
ELASTICLM_INLINE void store(int32_t* p, Sums a) { vst1q_s32(p, a.v); }
ELASTICLM_INLINE Vec to_floats(Sums a) { return {vcvtq_f32_s32(a.v)}; }

// Widened to 16 bits, even and odd bytes apart, so that neighbours of a product belong to the same word.
inline constexpr int kRegistersPerI8 = 2;
struct U8Words {
  int16x8_t even;
  int16x8_t odd;
};
struct S8Words {
  int16x8_t even;
  int16x8_t odd;
};
ELASTICLM_INLINE U8Words u8_words(Words a) {
  const uint16x8_t pairs = vreinterpretq_u16_u32(a.v);
  return {vreinterpretq_s16_u16(vandq_u16(pairs, vdupq_n_u16(255))),
          vreinterpretq_s16_u16(vshrq_n_u16(pairs, 8))};
}
ELASTICLM_INLINE S8Words s8_words(Words a) {
  const int16x8_t pairs = vreinterpretq_s16_u32(a.v);
  return {vshrq_n_s16(vshlq_n_s16(pairs, 8), 8), vshrq_n_s16(pairs, 8)};
}
// A product is at most 255 * 128 in magnitude and fits 16 bits; the sum of two does not.
ELASTICLM_INLINE Sums dot(Sums sum, S8Words x, U8Words w) {
  return {vpadalq_s16(vpadalq_s16(sum.v, vmulq_s16(w.even, x.even)), vmulq_s16(w.odd, x.odd))};
}

ELASTICLM_INLINE Sums operator+(Sums a, Sums b) { return {vaddq_s32(a.v, b.v)}; }
ELASTICLM_INLINE int32_t reduce_add(Sums a) { return vaddvq_s32(a.v); }
ELASTICLM_INLINE Sums round_to_sums(Vec a) { return {vcvtnq_s32_f32(a.v)}; }

ELASTICLM_INLINE void store_s8(int8_t* p, Sums first, Sums second) {
  vst1_s8(p, vmovn_s16(vcombine_s16(vmovn_s32(first.v), vmovn_s32(second.v))));
}

ELASTICLM_INLINE Words max_magnitude_bf16(Words largest, Words a) {
  const uint16x8_t magnitude = vandq_u16(vreinterpretq_u16_u32(a.v), vdupq_n_u16(0x7fff));
  return {vreinterpretq_u32_u16(vmaxq_u16(vreinterpretq_u16_u32(largest.v), magnitude))};
}

ELASTICLM_INLINE Words load_first_words(const std::byte* p, int64_t n) {
  Words a = {vdupq_n_u32(0)};
  std::memcpy(&a.v, p, static_cast<size_t>(n) * sizeof(uint32_t));
  return a;
}
ELASTICLM_INLINE Words round_to_words(Vec a, Vec b) {
  return {vreinterpretq_u32_u16(vcombine_u16(round_to_bf16(a), round_to_bf16(b)))};
}
ELASTICLM_INLINE Words round_halves(Vec a) {
  const uint32x4_t bits = bits_of(a);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  return {vbslq_u32(vceqq_f32(a.v, a.v), rounded, vorrq_u32(bits, vdupq_n_u32(0x400000)))};
}
ELASTICLM_INLINE Words pack_halves(Words a, Words b) {
  return {vreinterpretq_u32_u16(vuzp2q_u16(vreinterpretq_u16_u32(a.v), vreinterpretq_u16_u32(b.v)))};
}
ELASTICLM_INLINE Words pair_halves(Words first, Words second) {
  return {vreinterpretq_u32_u16(vtrn2q_u16(vreinterpretq_u16_u32(first.v), vreinterpretq_u16_u32(second.v)))};
}
ELASTICLM_INLINE void store_first_bf16(BF16* p, Vec a, int64_t) { store_bf16(p, a); }  // n is kLanes
struct WordsPair {
  Words low;
  Words high;
};
ELASTICLM_INLINE WordsPair interleave_first(const BF16* first, const BF16* second, int64_t) {  // n >= 8
  const uint16x8_t a = vld1q_u16(reinterpret_cast<const uint16_t*>(first));
  const uint16x8_t b =
      second == nullptr ? vdupq_n_u16(0) : vld1q_u16(reinterpret_cast<const uint16_t*>(second));
  return {{vreinterpretq_u32_u16(vzip1q_u16(a, b))}, {vreinterpretq_u32_u16(vzip2q_u16(a, b))}};
}

}  // namespace elasticlm::neon
