// Storage types of tensors in a checkpoint and of packed weights.
#pragma once

#include <cstdint>

namespace elasticlm {

enum class DType : uint8_t { kF32, kF16, kBF16 };

constexpr int64_t dtype_bytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr const char* dtype_name(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16";
}

// Exact widening of one stored value: every f16 and bf16 value is an f32 value.
float f16_to_f32(uint16_t bits);
float bf16_to_f32(uint16_t bits);
// Rounds to nearest, ties to even; overflow becomes infinity, NaN stays NaN.
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);

}  // namespace elasticlm
