#include "core/dtype.h"

#include <bit>

namespace elasticlm {
namespace {

// value >> shift, rounded to nearest with ties to even. 1 <= shift <= 31.
uint32_t shift_round(uint32_t value, int shift) {
  const uint32_t quotient = value >> shift;
  const uint32_t rest = value & ((1u << shift) - 1u);
  const uint32_t half = 1u << (shift - 1);
  return quotient + (rest > half || (rest == half && (quotient & 1u)) ? 1u : 0u);
}

constexpr uint32_t kF32Infinity = 0x7f800000u;
constexpr uint32_t kF16Infinity = 0x7c00u;

}  // namespace

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0) {  // zero or denormal: fraction * 2^-24, exact in f32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t wide = exponent == 0x1f ? 0xffu : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > kF32Infinity)
    return static_cast<uint16_t>(sign | kF16Infinity | 0x200u | ((magnitude >> 13) & 0x3ffu));
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent >= 16) return static_cast<uint16_t>(sign | kF16Infinity);
  if (exponent < -25) return static_cast<uint16_t>(sign);  // below half of the smallest denormal
  uint32_t half;
  if (exponent < -14) {  // a denormal: the significand counts units of 2^-24
    const uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    half = shift_round(significand, -exponent - 1);
  } else {
    half = shift_round(magnitude - (static_cast<uint32_t>(127 - 15) << 23),
                       13);  // a carry moves into the exponent
  }
  return static_cast<uint16_t>(sign | half);
}

uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // NaN: the upper half with the quiet bit, which rounding could carry away into an infinity.
  if ((bits & 0x7fffffffu) > kF32Infinity) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>(shift_round(bits, 16));
}

}  // namespace elasticlm
