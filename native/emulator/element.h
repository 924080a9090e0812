// element.cuh in the emulator.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/device.cuh"

namespace elasticlm::cuda {

template <>
ELASTICLM_DEVICE float to_float<float>(float value) {
  return value;
}
template <>
ELASTICLM_DEVICE float to_float<f16>(f16 value) {
  return f16_to_f32(value.bits);
}
template <>
ELASTICLM_DEVICE float to_float<bf16>(bf16 value) {
  return bf16_to_f32(value.bits);
}

template <>
ELASTICLM_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
ELASTICLM_DEVICE f16 from_float<f16>(float value) {
  return {f32_to_f16(value)};
}
template <>
ELASTICLM_DEVICE bf16 from_float<bf16>(float value) {
  return {f32_to_bf16(value)};
}

template <>
ELASTICLM_DEVICE uint32_t pack2<f16>(float first, float second) {
  return f32_to_f16(first) | uint32_t{f32_to_f16(second)} << 16;
}
template <>
ELASTICLM_DEVICE uint32_t pack2<bf16>(float first, float second) {
  return f32_to_bf16(first) | uint32_t{f32_to_bf16(second)} << 16;
}

template <>
ELASTICLM_DEVICE float2 unpack2<f16>(uint32_t pair) {
  return {f16_to_f32(static_cast<uint16_t>(pair)), f16_to_f32(static_cast<uint16_t>(pair >> 16))};
}
template <>
ELASTICLM_DEVICE float2 unpack2<bf16>(uint32_t pair) {
  return {bf16_to_f32(static_cast<uint16_t>(pair)), bf16_to_f32(static_cast<uint16_t>(pair >> 16))};
}

}  // namespace elasticlm::cuda
