// From a dtype known when the program runs to an element type known when it is compiled.
#pragma once

#include "core/dtype.h"
#include "core/status.h"
#include "kernels/cuda/element.cuh"

namespace elasticlm::cuda {

// Calls action.operator()<T>() with the element type of `dtype`.
template <typename Action>
void for_dtype(DType dtype, const Action& action) {
  switch (dtype) {
    case DType::kF32:
      return action.template operator()<float>();
    case DType::kF16:
      return action.template operator()<f16>();
    case DType::kBF16:
      return action.template operator()<bf16>();
  }
}

// The same for kernels that only know 16-bit elements. Throws kDtypeUnsupported.
template <typename Action>
void for_dtype_16(DType dtype, const Action& action) {
  switch (dtype) {
    case DType::kF32:
      break;
    case DType::kF16:
      return action.template operator()<f16>();
    case DType::kBF16:
      return action.template operator()<bf16>();
  }
  fail(ErrorCode::kDtypeUnsupported, {.expected = "f16 or bf16",
                                      .subject = "a kernel on tensor cores",
                                      .received = dtype_name(dtype),
                                      .remedy = "run f32 on the reference path"});
}

}  // namespace elasticlm::cuda
