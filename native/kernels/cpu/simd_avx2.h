// The vector wrapper for AVX2 with FMA and F16C: 8 floats in one register. Only for files compiled with the
// avx2 flags. What each name means stands in simd_avx512.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/x86_intrinsics.h"

#define ELASTICLM_INLINE [[gnu::always_inline]] inline

namespace elasticlm::avx2 {

inline constexpr int64_t kLanes = 8;
inline constexpr int kRegisters = 16;

struct Vec {
  __m256 v;
};

ELASTICLM_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

ELASTICLM_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
ELASTICLM_INLINE Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
ELASTICLM_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
ELASTICLM_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
ELASTICLM_INLINE Vec load_first(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
ELASTICLM_INLINE void store_first(float* p, Vec a, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), a.v); }
ELASTICLM_INLINE Vec keep_first(Vec a, int64_t n, Vec other) {
  return {_mm256_blendv_ps(other.v, a.v, _mm256_castsi256_ps(first_lanes(n)))};
}

ELASTICLM_INLINE Vec load_f16(const void* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
ELASTICLM_INLINE Vec load_bf16(const void* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}

ELASTICLM_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
ELASTICLM_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
ELASTICLM_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
ELASTICLM_INLINE Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
ELASTICLM_INLINE Vec copy_sign(Vec a, Vec b) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.v), _mm256_and_ps(sign, b.v))};
}
ELASTICLM_INLINE Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
ELASTICLM_INLINE Vec round(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// 2 a * 2^(n - 1): one power of two then reaches both n = 128 and, as bit pattern 0, kMinPower.
inline constexpr float kMinPower = -126.0f;
ELASTICLM_INLINE Vec scale_by_power(Vec a, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(126));
  return {_mm256_mul_ps(_mm256_add_ps(a.v, a.v), _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))};
}

ELASTICLM_INLINE Vec lookup16(const float* table, Vec index_bits) {
  const __m256i index = _mm256_castps_si256(index_bits.v);
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
  return {_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)))};  // by bit 3
}

ELASTICLM_INLINE float reduce_add(Vec a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
ELASTICLM_INLINE float reduce_max(Vec a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

ELASTICLM_INLINE void transpose(Vec (&rows)[kLanes]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {  // pairs of rows, interleaved
    t[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  __m256 u[8];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {  // 4x4 blocks
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {  // halves
    rows[c].v = _mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
    rows[4 + c].v = _mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
  }
}

inline constexpr int64_t kReducedRows = 4;
template <typename Op>
ELASTICLM_INLINE Vec reduce_rows(const Vec (&rows)[kReducedRows], const Op& op) {
  Vec pairs[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256 a = rows[2 * i].v, b = rows[2 * i + 1].v;
    pairs[i] = op(Vec{_mm256_unpacklo_ps(a, b)}, Vec{_mm256_unpackhi_ps(a, b)});
  }
  const __m256d a = _mm256_castps_pd(pairs[0].v), b = _mm256_castps_pd(pairs[1].v);
  const __m256 four =
      op(Vec{_mm256_castpd_ps(_mm256_unpacklo_pd(a, b))}, Vec{_mm256_castpd_ps(_mm256_unpackhi_pd(a, b))}).v;
  return op(Vec{four}, Vec{_mm256_permute2f128_ps(four, four, 0x01)});
}

struct Power {
  Vec mantissa;
  __m256i exponent;
};
ELASTICLM_INLINE Power split_power(Vec a) {
  const __m256i whole = _mm256_cvtps_epi32(a.v);
  const __m256i fraction = _mm256_set1_epi32(0x7fffff);
  const __m256i mantissa = _mm256_or_si256(_mm256_and_si256(whole, fraction), _mm256_set1_epi32(0x3f800000));
  return {{_mm256_castsi256_ps(mantissa)}, _mm256_andnot_si256(fraction, whole)};
}
ELASTICLM_INLINE Vec join_power(Vec a, Power power) {
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), power.exponent))};
}

}  // namespace elasticlm::avx2

#undef ELASTICLM_ISA_NAMESPACE
#define ELASTICLM_ISA_NAMESPACE avx2
#undef ELASTICLM_KERNEL
#define ELASTICLM_KERNEL(name) name##_avx2
#include "kernels/cpu/vector_math.h"
