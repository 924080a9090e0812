// Dot products over words of 32 bits for any target. What each name means stands in dot_avx512.h.
#pragma once

#include <cstring>

#include "core/precision.h"
#include "kernels/cpu/load_word.h"

namespace elasticlm::generic {

struct Words {
  Ints v;
};

ELASTICLM_INLINE Words load_words(const std::byte* p) {
  Words a;
  std::memcpy(&a.v, p, sizeof(a.v));
  return a;
}
ELASTICLM_INLINE Words broadcast_word(uint32_t word) {
  const auto lane = static_cast<int32_t>(word);
  return {Ints{lane, lane, lane, lane}};
}
ELASTICLM_INLINE Vec as_floats(Words a) { return from_bits(a.v); }

inline constexpr int kRegistersPerBF16 = 2;
struct BF16Words {
  Vec first;
  Vec second;
};
ELASTICLM_INLINE BF16Words bf16_words(Words a) { return {from_bits(a.v << 16), from_bits(a.v & ~0xffff)}; }
ELASTICLM_INLINE Vec dot(Vec sum, BF16Words x, BF16Words w) {
  return fma(x.second, w.second, fma(x.first, w.first, sum));
}

ELASTICLM_INLINE Ints round_to_bf16(Vec a) {  // in the low halves of 32 bits
  using Bits = uint32_t __attribute__((vector_size(16)));
  const Bits bits = reinterpret_cast<Bits>(a.v);
  return reinterpret_cast<Ints>((bits + (0x7fffu + ((bits >> 16) & 1u))) >> 16);
}
ELASTICLM_INLINE void store_bf16(BF16* p, Vec a) {
  const Ints rounded = round_to_bf16(a);
  for (int i = 0; i < kLanes; ++i) p[i].bits = static_cast<uint16_t>(rounded[i]);
}

ELASTICLM_INLINE void store_words(std::byte* p, Words a) { std::memcpy(p, &a.v, sizeof(a.v)); }

struct Sums {
  Ints v;
};
ELASTICLM_INLINE Sums broadcast_sum(int32_t sum) { return {Ints{sum, sum, sum, sum}}; }
ELASTICLM_INLINE Sums load_sums(const int32_t* p) {
  Sums a;
  std::memcpy(&a.v, p, sizeof(a.v));
  return a;
}
ELASTICLM_INLINE void store(int32_t* p, Sums a) { std::memcpy(p, &a.v, sizeof(a.v)); }
ELASTICLM_INLINE Vec to_floats(Sums a) { return {__builtin_convertvector(a.v, Floats)}; }

// Byte by byte in 32 bits, where no instruction multiplies bytes.
inline constexpr int kRegistersPerI8 = 2;
struct U8Words {
  Ints v;
};
struct S8Words {
  Ints v;
};
ELASTICLM_INLINE U8Words u8_words(Words a) { return {a.v}; }
ELASTICLM_INLINE S8Words s8_words(Words a) { return {a.v}; }
ELASTICLM_INLINE Sums dot(Sums sum, S8Words x, U8Words w) {
#pragma GCC unroll 4
  for (int byte = 0; byte < 4; ++byte) {
    const Ints signed_byte = (x.v << (24 - 8 * byte)) >> 24;
    const Ints unsigned_byte = (w.v >> (8 * byte)) & 255;
    sum.v += signed_byte * unsigned_byte;
  }
  return sum;
}

ELASTICLM_INLINE Sums operator+(Sums a, Sums b) { return {a.v + b.v}; }
ELASTICLM_INLINE int32_t reduce_add(Sums a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
ELASTICLM_INLINE Sums round_to_sums(Vec a) {
  const Vec shift = broadcast(12582912.0f);  // as in round; the whole number stays in the low bits
  return {bits_of(a + shift) - bits_of(shift)};
}

ELASTICLM_INLINE void store_s8(int8_t* p, Sums first, Sums second) {
  for (int i = 0; i < kLanes; ++i) {
    p[i] = static_cast<int8_t>(first.v[i]);
    p[kLanes + i] = static_cast<int8_t>(second.v[i]);
  }
}

ELASTICLM_INLINE Words max_magnitude_bf16(Words largest, Words a) {
  using Halves = int16_t __attribute__((vector_size(16)));
  const Halves most = reinterpret_cast<Halves>(largest.v);
  const Halves magnitude = reinterpret_cast<Halves>(a.v) & INT16_MAX;
  const Halves is_larger = magnitude > most;
  return {reinterpret_cast<Ints>((is_larger & magnitude) | (~is_larger & most))};
}

ELASTICLM_INLINE Words load_first_words(const std::byte* p, int64_t n) {
  Words a = {Ints{}};
  std::memcpy(&a.v, p, static_cast<size_t>(n) * sizeof(int32_t));
  return a;
}
ELASTICLM_INLINE Words round_to_words(Vec a, Vec b) {
  const Ints first = round_to_bf16(a), second = round_to_bf16(b);
  const Ints even = __builtin_shufflevector(first, second, 0, 2, 4, 6);
  const Ints odd = __builtin_shufflevector(first, second, 1, 3, 5, 7);
  return {even | (odd << 16)};
}
ELASTICLM_INLINE Words round_halves(Vec a) {
  const UInts bits = reinterpret_cast<UInts>(a.v);
  const UInts rounded = bits + (0x7fffu + ((bits >> 16) & 1u));
  const UInts is_nan = reinterpret_cast<UInts>(a.v != a.v);
  return {reinterpret_cast<Ints>((is_nan & (bits | 0x400000u)) | (~is_nan & rounded))};
}
ELASTICLM_INLINE Words pack_halves(Words a, Words b) {
  using Halves = int16_t __attribute__((vector_size(16)));
  return {reinterpret_cast<Ints>(__builtin_shufflevector(
      reinterpret_cast<Halves>(a.v), reinterpret_cast<Halves>(b.v), 1, 3, 5, 7, 9, 11, 13, 15))};
}
ELASTICLM_INLINE Words pair_halves(Words first, Words second) {
  return {reinterpret_cast<Ints>(reinterpret_cast<UInts>(first.v) >> 16) | (second.v & ~0xffff)};
}
ELASTICLM_INLINE void store_first_bf16(BF16* p, Vec a, int64_t) { store_bf16(p, a); }  // n is kLanes
struct WordsPair {
  Words low;
  Words high;
};
ELASTICLM_INLINE WordsPair interleave_first(const BF16* first, const BF16* second, int64_t) {  // n >= 8
  using Halves = uint16_t __attribute__((vector_size(16)));
  Halves a, b = {};
  std::memcpy(&a, first, sizeof(a));
  if (second != nullptr) std::memcpy(&b, second, sizeof(b));
  return {{reinterpret_cast<Ints>(__builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11))},
          {reinterpret_cast<Ints>(__builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15))}};
}

}  // namespace elasticlm::generic
