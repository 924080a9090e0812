// Dot products over words of 32 bits for AVX-512: one f32, two bf16 or four i8 in each lane. Included after
// simd_avx512.h, whose namespace it extends; dot_avx2.h, dot_neon.h and dot_generic.h offer the same names.
//
// Where ELASTICLM_NATIVE_BF16 is defined the processor's own dot product of bf16 is used, else one fused
// multiply-add in f32 for each product.
#pragma once

#include "core/precision.h"
#include "kernels/cpu/load_word.h"

namespace elasticlm::avx512 {

// kLanes words.
struct Words {
  __m512i v;
};

ELASTICLM_INLINE Words load_words(const std::byte* p) { return {_mm512_loadu_si512(p)}; }
ELASTICLM_INLINE Words broadcast_word(uint32_t word) { return {_mm512_set1_epi32(static_cast<int>(word))}; }
ELASTICLM_INLINE Vec as_floats(Words a) { return {_mm512_castsi512_ps(a.v)}; }

// Two bf16 in each lane, as the multiplication wants them.
#if defined(ELASTICLM_NATIVE_BF16)
inline constexpr int kRegistersPerBF16 = 1;
struct BF16Words {
  __m512i v;
};
ELASTICLM_INLINE BF16Words bf16_words(Words a) { return {a.v}; }
// sum + x0 * w0 + x1 * w1 per lane. As assembly, because g++ 12 moves accumulators to memory around the
// intrinsic.
ELASTICLM_INLINE Vec dot(Vec sum, BF16Words x, BF16Words w) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.v) : "v"(w.v), "v"(x.v));
  return sum;
}
ELASTICLM_INLINE __m256i round_to_bf16(Vec a) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)); }
#else
inline constexpr int kRegistersPerBF16 = 2;
struct BF16Words {
  __m512 first;
  __m512 second;
};
ELASTICLM_INLINE BF16Words bf16_words(Words a) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(a.v, _mm512_set1_epi32(-65536)))};
}
ELASTICLM_INLINE Vec dot(Vec sum, BF16Words x, BF16Words w) {
  return {_mm512_fmadd_ps(x.second, w.second, _mm512_fmadd_ps(x.first, w.first, sum.v))};
}
// To nearest, ties to even; the input must be finite.
ELASTICLM_INLINE __m256i round_to_bf16(Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}
#endif

// kLanes finite values.
ELASTICLM_INLINE void store_bf16(BF16* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_to_bf16(a));
}

ELASTICLM_INLINE void store_words(std::byte* p, Words a) { _mm512_storeu_si512(p, a.v); }

// Sums of i8 products.
struct Sums {
  __m512i v;
};
ELASTICLM_INLINE Sums broadcast_sum(int32_t sum) { return {_mm512_set1_epi32(sum)}; }
ELASTICLM_INLINE Sums load_sums(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
ELASTICLM_INLINE void store(int32_t* p, Sums a) { _mm512_storeu_si512(p, a.v); }
ELASTICLM_INLINE Vec to_floats(Sums a) { return {_mm512_cvtepi32_ps(a.v)}; }

// Four i8 in each lane: of weights unsigned, of rows signed.
inline constexpr int kRegistersPerI8 = 1;
struct U8Words {
  __m512i v;
};
struct S8Words {
  __m512i v;
};
ELASTICLM_INLINE U8Words u8_words(Words a) { return {a.v}; }
ELASTICLM_INLINE S8Words s8_words(Words a) { return {a.v}; }
// sum + Σ x * w over the four, in 32 bits throughout. As assembly for the same reason as above.
ELASTICLM_INLINE Sums dot(Sums sum, S8Words x, U8Words w) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.v) : "v"(w.v), "v"(x.v));
  return sum;
}

ELASTICLM_INLINE Sums operator+(Sums a, Sums b) { return {_mm512_add_epi32(a.v, b.v)}; }
ELASTICLM_INLINE int32_t reduce_add(Sums a) { return _mm512_reduce_add_epi32(a.v); }
// To the nearest whole number, ties to even; |a| < 2^22.
ELASTICLM_INLINE Sums round_to_sums(Vec a) { return {_mm512_cvtps_epi32(a.v)}; }

// Where the low byte of each lane lies in two registers.
alignas(32) constexpr int8_t kLowBytes[32] = {0,  4,  8,  12,  16,  20,  24,  28,  32,  36, 40,
                                              44, 48, 52, 56,  60,  64,  68,  72,  76,  80, 84,
                                              88, 92, 96, 100, 104, 108, 112, 116, 120, 124};
// 2 kLanes whole numbers in [-128, 127].
ELASTICLM_INLINE void store_s8(int8_t* p, Sums first, Sums second) {
  const __m512i index =
      _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(kLowBytes)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_castsi512_si256(_mm512_permutex2var_epi8(first.v, index, second.v)));
}

// Per 16 bits, for bf16: the larger of `largest`, a magnitude, and |a|.
ELASTICLM_INLINE Words max_magnitude_bf16(Words largest, Words a) {
  return {_mm512_max_epu16(largest.v, _mm512_and_si512(a.v, _mm512_set1_epi16(0x7fff)))};
}

// The first n words (0 <= n <= kLanes), zero behind them; nothing past them is read.
ELASTICLM_INLINE Words load_first_words(const std::byte* p, int64_t n) {
  return {_mm512_maskz_loadu_epi32(first_lanes(n), p)};
}
// Words of two neighbouring bf16: those of a, then those of b, rounded as store_bf16 does.
ELASTICLM_INLINE Words round_to_words(Vec a, Vec b) {
#if defined(ELASTICLM_NATIVE_BF16)
  return {reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.v, a.v))};
#else
  return {_mm512_inserti64x4(_mm512_castsi256_si512(round_to_bf16(a)), round_to_bf16(b), 1)};
#endif
}
// bf16 in the upper half of each lane, rounded as core/dtype does it whatever the value: NaN keeps its upper
// half, made quiet. The lower half means nothing.
ELASTICLM_INLINE Words round_halves(Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  return {_mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000))};
}
// Where the upper half of each lane lies in two registers.
alignas(64) constexpr int16_t kUpperHalves[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                  23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                  45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
// Words of two neighbouring upper halves: those of a, then those of b.
ELASTICLM_INLINE Words pack_halves(Words a, Words b) {
  return {_mm512_permutex2var_epi16(a.v, _mm512_load_si512(kUpperHalves), b.v)};
}
// Words of two upper halves: lane i holds those of first[i] and second[i].
ELASTICLM_INLINE Words pair_halves(Words first, Words second) {
  return {_mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(first.v, 16), second.v)};
}
// The first n (8 or kLanes) of kLanes finite values.
ELASTICLM_INLINE void store_first_bf16(BF16* p, Vec a, int64_t n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), round_to_bf16(a));
}
// Words 0 to 2 kLanes - 1 hold first[i] and second[i], for i < n (a multiple of 8), zeros behind; null
// `second`: zeros.
struct WordsPair {
  Words low;
  Words high;
};
ELASTICLM_INLINE WordsPair interleave_first(const BF16* first, const BF16* second, int64_t n) {
  const __mmask32 lanes = static_cast<__mmask32>(n < 32 ? (1u << n) - 1u : ~0u);
  const __m512i low = _mm512_setr_epi32(  // of each: 16 bits of the first row, 16 of the second
      0x200000, 0x210001, 0x220002, 0x230003, 0x240004, 0x250005, 0x260006, 0x270007, 0x280008, 0x290009,
      0x2a000a, 0x2b000b, 0x2c000c, 0x2d000d, 0x2e000e, 0x2f000f);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(0x100010));
  const __m512i a = _mm512_maskz_loadu_epi16(lanes, first);
  const __m512i b = second == nullptr ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16(lanes, second);
  return {{_mm512_permutex2var_epi16(a, low, b)}, {_mm512_permutex2var_epi16(a, high, b)}};
}

}  // namespace elasticlm::avx512
