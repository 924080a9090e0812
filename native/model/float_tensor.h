// Reading stored elements as f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/precision.h"
#include "core/tensor_view.h"

namespace elasticlm {

// Product of the shape.
int64_t num_elements(const TensorView& tensor);

// Widens `count` stored elements to out[0, count). `data` needs no alignment.
void widen(const std::byte* data, DType dtype, int64_t count, float* out);

// Throws kCheckpointInvalid naming `name` and the first element that is NaN, infinite or, where the tensor is
// to be rounded to bf16, so large that it becomes infinite.
void require_finite(const TensorView& tensor, const std::string& name, Precision precision = Precision::kF32);

}  // namespace elasticlm
