// The 16-bit element types of weights and activations. Arithmetic is always in f32.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/device.cuh"

namespace elasticlm::cuda {

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

template <typename T>
inline constexpr DType kDTypeOf = DType::kF32;
template <>
inline constexpr DType kDTypeOf<f16> = DType::kF16;
template <>
inline constexpr DType kDTypeOf<bf16> = DType::kBF16;

// Exact widening.
template <typename T>
ELASTICLM_DEVICE float to_float(T value);
// Rounds to nearest, ties to even. (f32: the identity.)
template <typename T>
ELASTICLM_DEVICE T from_float(float value);
// Two neighbouring elements as they lie in memory: `first` in the low half.
template <typename T>
ELASTICLM_DEVICE uint32_t pack2(float first, float second);
template <typename T>
ELASTICLM_DEVICE float2 unpack2(uint32_t pair);

}  // namespace elasticlm::cuda

#if defined(ELASTICLM_EMULATED)
#include "emulator/element.h"
#else
#include "kernels/cuda/element_nvcc.cuh"
#endif
