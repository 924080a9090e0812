// Dot products over words of 32 bits for AVX2. What each name means stands in dot_avx512.h.
#pragma once

#include "core/precision.h"
#include "kernels/cpu/load_word.h"

namespace elasticlm::avx2 {

struct Words {
  __m256i v;
};

ELASTICLM_INLINE Words load_words(const std::byte* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
ELASTICLM_INLINE Words broadcast_word(uint32_t word) { return {_mm256_set1_epi32(static_cast<int>(word))}; }
ELASTICLM_INLINE Vec as_floats(Words a) { return {_mm256_castsi256_ps(a.v)}; }

inline constexpr int kRegistersPerBF16 = 2;
struct BF16Words {
  __m256 first;
  __m256 second;
};
ELASTICLM_INLINE BF16Words bf16_words(Words a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a.v, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(a.v, _mm256_set1_epi32(-65536)))};
}
ELASTICLM_INLINE Vec dot(Vec sum, BF16Words x, BF16Words w) {
  return {_mm256_fmadd_ps(x.second, w.second, _mm256_fmadd_ps(x.first, w.first, sum.v))};
}

ELASTICLM_INLINE __m256i round_to_bf16(Vec a) {  // in the low halves of 32 bits
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}
ELASTICLM_INLINE void store_bf16(BF16* p, Vec a) {
  const __m256i rounded = round_to_bf16(a);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1)));
}

ELASTICLM_INLINE void store_words(std::byte* p, Words a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}

struct Sums {
  __m256i v;
};
ELASTICLM_INLINE Sums broadcast_sum(int32_t sum) { return {_mm256_set1_epi32(sum)}; }
ELASTICLM_INLINE Sums load_sums(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
ELASTICLM_INLINE void store(int32_t* p, Sums a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
ELASTICLM_INLINE Vec to_floats(Sums a) { return {_mm256_cvtepi32_ps(a.v)}; }

// Widened to 16 bits, even and odd bytes apart: the product of unsigned and signed bytes (vpmaddubsw) sums
// two of them in 16 bits and saturates.
inline constexpr int kRegistersPerI8 = 2;
struct U8Words {
  __m256i even;
  __m256i odd;
};
struct S8Words {
  __m256i even;
  __m256i odd;
};
ELASTICLM_INLINE U8Words u8_words(Words a) {
  return {_mm256_and_si256(a.v, _mm256_set1_epi16(255)), _mm256_srli_epi16(a.v, 8)};
}
ELASTICLM_INLINE S8Words s8_words(Words a) {
  return {_mm256_srai_epi16(_mm256_slli_epi16(a.v, 8), 8), _mm256_srai_epi16(a.v, 8)};
}
ELASTICLM_INLINE Sums dot(Sums sum, S8Words x, U8Words w) {
  const __m256i even = _mm256_madd_epi16(w.even, x.even);
  const __m256i odd = _mm256_madd_epi16(w.odd, x.odd);
  return {_mm256_add_epi32(sum.v, _mm256_add_epi32(even, odd))};
}

ELASTICLM_INLINE Sums operator+(Sums a, Sums b) { return {_mm256_add_epi32(a.v, b.v)}; }
ELASTICLM_INLINE int32_t reduce_add(Sums a) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}
ELASTICLM_INLINE Sums round_to_sums(Vec a) { return {_mm256_cvtps_epi32(a.v)}; }

ELASTICLM_INLINE void store_s8(int8_t* p, Sums first, Sums second) {
  const __m256i halves = _mm256_packs_epi32(first.v, second.v);  // per 128 bits: four of each
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_shuffle_epi32(bytes, _MM_SHUFFLE(3, 1, 2, 0)));
}

ELASTICLM_INLINE Words max_magnitude_bf16(Words largest, Words a) {
  return {_mm256_max_epu16(largest.v, _mm256_and_si256(a.v, _mm256_set1_epi16(0x7fff)))};
}

ELASTICLM_INLINE Words load_first_words(const std::byte* p, int64_t n) {
  return {_mm256_maskload_epi32(reinterpret_cast<const int*>(p), first_lanes(n))};
}
ELASTICLM_INLINE Words round_to_words(Vec a, Vec b) {
  const __m256i packed = _mm256_packus_epi32(round_to_bf16(a), round_to_bf16(b));
  return {_mm256_permute4x64_epi64(packed, 0xd8)};
}
ELASTICLM_INLINE Words round_halves(Vec a) {
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 is_nan = _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q);
  return {_mm256_castps_si256(
      _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), is_nan))};
}
ELASTICLM_INLINE Words pack_halves(Words a, Words b) {
  const __m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(a.v, 16), _mm256_srli_epi32(b.v, 16));
  return {_mm256_permute4x64_epi64(packed, 0xd8)};
}
ELASTICLM_INLINE Words pair_halves(Words first, Words second) {
  return {_mm256_blend_epi16(_mm256_srli_epi32(first.v, 16), second.v, 0xaa)};
}
ELASTICLM_INLINE void store_first_bf16(BF16* p, Vec a, int64_t) { store_bf16(p, a); }  // n is kLanes
struct WordsPair {
  Words low;
  Words high;
};
ELASTICLM_INLINE WordsPair interleave_first(const BF16* first, const BF16* second, int64_t n) {
  const auto read = [n](const BF16* p) __attribute__((always_inline)) {
    if (p == nullptr) return _mm256_setzero_si256();
    if (n >= 16) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_zextsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  };
  const __m256i a = read(first), b = read(second);
  const __m256i even = _mm256_unpacklo_epi16(a, b), odd = _mm256_unpackhi_epi16(a, b);
  return {{_mm256_permute2x128_si256(even, odd, 0x20)}, {_mm256_permute2x128_si256(even, odd, 0x31)}};
}

}  // namespace elasticlm::avx2
