// element.cuh under nvcc.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace elasticlm::cuda {

template <>
ELASTICLM_DEVICE float to_float<float>(float value) {
  return value;
}
template <>
ELASTICLM_DEVICE float to_float<f16>(f16 value) {
  return __half2float(__ushort_as_half(value.bits));
}
template <>
ELASTICLM_DEVICE float to_float<bf16>(bf16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

template <>
ELASTICLM_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
ELASTICLM_DEVICE f16 from_float<f16>(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}
template <>
ELASTICLM_DEVICE bf16 from_float<bf16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}

template <>
ELASTICLM_DEVICE uint32_t pack2<f16>(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}
template <>
ELASTICLM_DEVICE uint32_t pack2<bf16>(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

template <>
ELASTICLM_DEVICE float2 unpack2<f16>(uint32_t pair) {
  return {to_float(f16{static_cast<uint16_t>(pair)}), to_float(f16{static_cast<uint16_t>(pair >> 16)})};
}
template <>
ELASTICLM_DEVICE float2 unpack2<bf16>(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

}  // namespace elasticlm::cuda
