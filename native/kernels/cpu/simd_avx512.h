// The vector wrapper for AVX-512: 16 floats in one register. Only for files compiled with the avx512 flags.
//
// simd_avx512.h, simd_avx2.h, simd_neon.h and simd_generic.h offer the same names in elasticlm::avx512,
// ::avx2, ::neon and ::generic; a kernel is written once over them. A file includes one of them (which brings
// vector_math.h, and names the set in ELASTICLM_ISA_NAMESPACE and ELASTICLM_KERNEL) and then the kernel's
// `<op>_impl.h`. Everything is inlined by force: no function of an ISA file may become the copy that the
// linker keeps for other files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/x86_intrinsics.h"

#define ELASTICLM_INLINE [[gnu::always_inline]] inline

namespace elasticlm::avx512 {

inline constexpr int64_t kLanes = 16;
inline constexpr int kRegisters = 32;

// kLanes floats.
struct Vec {
  __m512 v;
};

ELASTICLM_INLINE __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

ELASTICLM_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
ELASTICLM_INLINE Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
ELASTICLM_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
ELASTICLM_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
// The first n floats (0 <= n <= kLanes), zero behind them; nothing past them is read.
ELASTICLM_INLINE Vec load_first(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
ELASTICLM_INLINE void store_first(float* p, Vec a, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), a.v);
}
// Lanes from n on replaced by those of `other`.
ELASTICLM_INLINE Vec keep_first(Vec a, int64_t n, Vec other) {
  return {_mm512_mask_blend_ps(first_lanes(n), other.v, a.v)};
}

// kLanes values of 16 bits, widened exactly. No alignment assumed.
ELASTICLM_INLINE Vec load_f16(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
ELASTICLM_INLINE Vec load_bf16(const void* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

ELASTICLM_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
// a * b + c, fused.
ELASTICLM_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// c - a * b, fused.
ELASTICLM_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
// When either is NaN, b.
ELASTICLM_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
// The magnitude of a with the sign of b.
ELASTICLM_INLINE Vec copy_sign(Vec a, Vec b) {
  const __m512i sign = _mm512_set1_epi32(INT32_MIN);
  return {_mm512_castsi512_ps(  // 0xca: sign ? b : a
      _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(b.v), _mm512_castps_si512(a.v), 0xca))};
}
// Per lane: a < b ? yes : no.
ELASTICLM_INLINE Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
// To the nearest whole number, ties to even; |a| < 2^22.
ELASTICLM_INLINE Vec round(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// a * 2^n for whole n in [kMinPower, 128] and a in [0.5, 2); 0 at kMinPower. Results below 2^-125 may be 0.
inline constexpr float kMinPower = -160.0f;
ELASTICLM_INLINE Vec scale_by_power(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

// Per lane: table[low four bits of the lane's bit pattern]. table: [16].
ELASTICLM_INLINE Vec lookup16(const float* table, Vec index_bits) {
  return {_mm512_permutexvar_ps(_mm512_castps_si512(index_bits.v), _mm512_loadu_ps(table))};
}

// Over all lanes, always in the same order.
ELASTICLM_INLINE float reduce_add(Vec a) { return _mm512_reduce_add_ps(a.v); }
ELASTICLM_INLINE float reduce_max(Vec a) { return _mm512_reduce_max_ps(a.v); }

// rows[i] lane j  <->  rows[j] lane i.
ELASTICLM_INLINE void transpose(Vec (&rows)[kLanes]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {  // pairs of rows, interleaved
    t[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  __m512 u[16];
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // 4x4 blocks: u[i + c] holds column 4 lane + c of rows i .. i + 3
    const __m512d a = _mm512_castps_pd(t[i]);
    const __m512d b = _mm512_castps_pd(t[i + 1]);
    const __m512d c = _mm512_castps_pd(t[i + 2]);
    const __m512d d = _mm512_castps_pd(t[i + 3]);
    u[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    u[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    u[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    u[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {                                        // 4x4 transpose of 128-bit lanes
    const __m512 low01 = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x88);   // lanes 0, 2 of both
    const __m512 high01 = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xdd);  // lanes 1, 3
    const __m512 low23 = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88);
    const __m512 high23 = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xdd);
    rows[c].v = _mm512_shuffle_f32x4(low01, low23, 0x88);
    rows[4 + c].v = _mm512_shuffle_f32x4(high01, high23, 0x88);
    rows[8 + c].v = _mm512_shuffle_f32x4(low01, low23, 0xdd);
    rows[12 + c].v = _mm512_shuffle_f32x4(high01, high23, 0xdd);
  }
}

// Lane r: `op` over all lanes of rows[r], in the same order for every r. Lanes from kReducedRows on repeat
// rows.
inline constexpr int64_t kReducedRows = 8;
template <typename Op>
ELASTICLM_INLINE Vec reduce_rows(const Vec (&rows)[kReducedRows], const Op& op) {
  Vec pairs[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 a = rows[2 * i].v, b = rows[2 * i + 1].v;
    pairs[i] = op(Vec{_mm512_unpacklo_ps(a, b)}, Vec{_mm512_unpackhi_ps(a, b)});
  }
  Vec fours[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512d a = _mm512_castps_pd(pairs[2 * i].v), b = _mm512_castps_pd(pairs[2 * i + 1].v);
    fours[i] =
        op(Vec{_mm512_castpd_ps(_mm512_unpacklo_pd(a, b))}, Vec{_mm512_castpd_ps(_mm512_unpackhi_pd(a, b))});
  }
  // 128-bit lanes: 0, 2 and 1, 3 of both; then 0, 2 and 1, 3 of what is left.
  const __m512 a = fours[0].v, b = fours[1].v;
  const __m512 eight = op(Vec{_mm512_shuffle_f32x4(a, b, 0x88)}, Vec{_mm512_shuffle_f32x4(a, b, 0xdd)}).v;
  return op(Vec{_mm512_shuffle_f32x4(eight, eight, 0x88)}, Vec{_mm512_shuffle_f32x4(eight, eight, 0xdd)});
}

// The same of 4 rows.
template <typename Op>
ELASTICLM_INLINE Vec reduce_rows(const Vec (&rows)[4], const Op& op) {
  Vec pairs[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512 a = rows[2 * i].v, b = rows[2 * i + 1].v;
    pairs[i] = op(Vec{_mm512_unpacklo_ps(a, b)}, Vec{_mm512_unpackhi_ps(a, b)});
  }
  const __m512d a = _mm512_castps_pd(pairs[0].v), b = _mm512_castps_pd(pairs[1].v);
  const __m512 four =
      op(Vec{_mm512_castpd_ps(_mm512_unpacklo_pd(a, b))}, Vec{_mm512_castpd_ps(_mm512_unpackhi_pd(a, b))}).v;
  const __m512 half =
      op(Vec{_mm512_shuffle_f32x4(four, four, 0x88)}, Vec{_mm512_shuffle_f32x4(four, four, 0xdd)}).v;
  return op(Vec{half}, Vec{_mm512_shuffle_f32x4(half, half, 0xb1)});
}

// 2^(a / 2^23) in parts, for whole a: 2^fraction = mantissa in [1, 2) as its own bits, and what adds the
// power of two to the bits of a result.
struct Power {
  Vec mantissa;
  __m512i exponent;
};
ELASTICLM_INLINE Power split_power(Vec a) {
  const __m512i whole = _mm512_cvtps_epi32(a.v);
  const __m512i fraction = _mm512_set1_epi32(0x7fffff);
  // 0xea: (whole & fraction) | one
  const __m512i mantissa = _mm512_ternarylogic_epi32(whole, fraction, _mm512_set1_epi32(0x3f800000), 0xea);
  return {{_mm512_castsi512_ps(mantissa)}, _mm512_andnot_si512(fraction, whole)};
}
ELASTICLM_INLINE Vec join_power(Vec a, Power power) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), power.exponent))};
}

}  // namespace elasticlm::avx512

#undef ELASTICLM_ISA_NAMESPACE
#define ELASTICLM_ISA_NAMESPACE avx512
#undef ELASTICLM_KERNEL
#define ELASTICLM_KERNEL(name) name##_avx512
#include "kernels/cpu/vector_math.h"
