// Reading stored elements as f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/tensor_view.h"

namespace elasticlm {

// Product of the shape.
int64_t num_elements(const TensorView& tensor);

// Widens `count` stored elements to out[0, count). `data` needs no alignment.
void widen(const std::byte* data, DType dtype, int64_t count, float* out);

// Throws kCheckpointInvalid naming `name` and the first infinite or NaN element.
void require_finite(const TensorView& tensor, const std::string& name);

}  // namespace elasticlm
