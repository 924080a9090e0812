// Tests spend their time here, also in builds for debugging.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#include "emulator/fragment.h"

#include <bit>
#include <cstring>

#include "emulator/thread.h"

namespace elasticlm::emulator {
namespace {

constexpr int kM = 16;
constexpr int kN = 8;
constexpr int kK = 16;

struct Fragments {
  float* d;           // [4]
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
};

// Exact: the f16's exponent is rebiased by a multiplication, which also makes subnormal values normal ones.
inline float widen_f16(uint32_t bits) {
  constexpr float kRebias = 0x1p112f;  // 2^(127 - 15)
  const uint32_t magnitude = (bits & 0x7fffu) << 13;
  const float finite = std::bit_cast<float>(magnitude) * kRebias;
  const uint32_t special = magnitude | 0x7f800000u;
  const uint32_t value = magnitude >= (0x7c00u << 13) ? special : std::bit_cast<uint32_t>(finite);
  return std::bit_cast<float>(value | (bits & 0x8000u) << 16);
}
inline float widen_bf16(uint32_t bits) { return std::bit_cast<float>(bits << 16); }

template <typename Widen>
inline void widen_all(float* to, const uint16_t* from, int count, Widen widen) {
  for (int i = 0; i < count; i++) to[i] = widen(from[i]);
}

// d [16, 8] += a [16, 16] b [16, 8]. Products of 16-bit elements are exact in f32.
void multiply(float (&d)[kM][kN], const uint16_t (&a)[kM][kK], const uint16_t (&b)[kK][kN], DType dtype) {
  float wide_a[kM][kK];
  float wide_b[kK][kN];
  if (dtype == DType::kF16) {
    widen_all(wide_a[0], a[0], kM * kK, widen_f16);
    widen_all(wide_b[0], b[0], kK * kN, widen_f16);
  } else {
    widen_all(wide_a[0], a[0], kM * kK, widen_bf16);
    widen_all(wide_b[0], b[0], kK * kN, widen_bf16);
  }
  for (int row = 0; row < kM; row++) {
    float sum[kN];
    std::memcpy(sum, d[row], sizeof sum);
    for (int k = 0; k < kK; k++) {
      for (int column = 0; column < kN; column++) sum[column] += wide_a[row][k] * wide_b[k][column];
    }
    std::memcpy(d[row], sum, sizeof sum);
  }
}

void multiply_warp(const Deposits<Fragments>& all, DType dtype) {
  alignas(32) float d[kM][kN];
  alignas(32) uint16_t a[kM][kK];
  alignas(32) uint16_t b[kK][kN];
  for (int lane = 0; lane < 32; lane++) {
    const Fragments& mine = all[lane];
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
    std::memcpy(&a[group][pair], &mine.a[0], 4);
    std::memcpy(&a[group + 8][pair], &mine.a[1], 4);
    std::memcpy(&a[group][pair + 8], &mine.a[2], 4);
    std::memcpy(&a[group + 8][pair + 8], &mine.a[3], 4);
    for (int half = 0; half < 2; half++) {
      b[pair + half * 8][group] = static_cast<uint16_t>(mine.b[half]);
      b[pair + half * 8 + 1][group] = static_cast<uint16_t>(mine.b[half] >> 16);
    }
    std::memcpy(&d[group][pair], &mine.d[0], 8);
    std::memcpy(&d[group + 8][pair], &mine.d[2], 8);
  }
  multiply(d, a, b, dtype);
  for (int lane = 0; lane < 32; lane++) {
    const Fragments& mine = all[lane];
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
    std::memcpy(&mine.d[0], &d[group][pair], 8);
    std::memcpy(&mine.d[2], &d[group + 8][pair], 8);
  }
}

struct MatrixRows {
  uint32_t* r;               // [4]
  const unsigned char* row;  // [8] 16-bit elements of matrix lane / 8, row lane % 8
};

void load_warp(const Deposits<MatrixRows>& all, bool transposed) {
  for (int matrix = 0; matrix < 4; matrix++) {
    uint16_t elements[8][8];
    for (int row = 0; row < 8; row++) std::memcpy(elements[row], all[matrix * 8 + row].row, 16);
    for (int lane = 0; lane < 32; lane++) {
      const int row = lane / 4;
      const int column = lane % 4 * 2;
      const uint32_t first = transposed ? elements[column][row] : elements[row][column];
      const uint32_t second = transposed ? elements[column + 1][row] : elements[row][column + 1];
      all[lane].r[matrix] = first | second << 16;
    }
  }
}

}  // namespace

void load_matrices(uint32_t (&r)[4], uint32_t shared, bool transposed) {
  const char* operation = transposed ? "ldmatrix.x4.trans" : "ldmatrix.x4";
  MatrixRows mine = {r, shared_pointer(shared, 16, 16, operation)};
  meet(Scope::kWarp, operation, mine, [&](const Deposits<MatrixRows>& all) { load_warp(all, transposed); });
}

void multiply_fragments(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], DType dtype) {
  Fragments mine = {d, a, b};
  meet(Scope::kWarp, dtype == DType::kF16 ? "mma.m16n8k16.f16" : "mma.m16n8k16.bf16", mine,
       [&](const Deposits<Fragments>& all) { multiply_warp(all, dtype); });
}

}  // namespace elasticlm::emulator
