// A named window onto stored bytes: a tensor of a mapped checkpoint file. Owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace elasticlm {

struct TensorView {
  const std::byte* data =
      nullptr;  // [product of shape] elements of dtype; aligned to the element's size or not at all
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

}  // namespace elasticlm
