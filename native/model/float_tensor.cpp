#include "model/float_tensor.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "core/status.h"
#include "model/printable.h"

namespace elasticlm {
namespace {

template <typename Bits>
Bits load(const std::byte* data, int64_t i) {
  Bits bits;
  std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
  return bits;
}

// Whether the magnitude of every element is below that of `limit`, both read as whole numbers. Branch-free,
// so that the compiler makes vectors of it: it runs over every weight at load.
template <typename Bits>
bool all_below(const std::byte* data, int64_t count, Bits limit) {
  constexpr Bits kMagnitude = std::numeric_limits<Bits>::max();
  bool any = false;
  for (int64_t i = 0; i < count; ++i) any |= (load<Bits>(data, i) & kMagnitude) >= limit;
  return !any;
}

bool all_finite(const std::byte* data, DType dtype, int64_t count, Precision precision) {
  switch (dtype) {
    case DType::kF32:
      // Infinity; the midpoint between the largest bf16 and what would come next.
      return all_below<int32_t>(data, count, precision == Precision::kBF16 ? 0x7f7f8000 : 0x7f800000);
    case DType::kF16:
      return all_below<int16_t>(data, count, 0x7c00);
    case DType::kBF16:
      return all_below<int16_t>(data, count, 0x7f80);
  }
  return false;
}

}  // namespace

int64_t num_elements(const TensorView& tensor) {
  int64_t product = 1;
  for (const int64_t size : tensor.shape) product *= size;
  return product;
}

void widen(const std::byte* data, DType dtype, int64_t count, float* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = f16_to_f32(load<uint16_t>(data, i));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = bf16_to_f32(load<uint16_t>(data, i));
      return;
  }
}

void require_finite(const TensorView& tensor, const std::string& name, Precision precision) {
  const int64_t count = num_elements(tensor);
  if (all_finite(tensor.data, tensor.dtype, count, precision)) return;
  const int64_t element_bytes = dtype_bytes(tensor.dtype);
  int64_t first = 0;
  while (all_finite(tensor.data + first * element_bytes, tensor.dtype, 1, precision)) ++first;
  float value = 0;
  widen(tensor.data + first * element_bytes, tensor.dtype, 1, &value);
  const bool is_finite = std::isfinite(value);
  fail(ErrorCode::kCheckpointInvalid,
       {.expected = is_finite ? "weights within bf16's range" : "finite weights",
        .subject = "tensor " + quoted(name),
        .received = std::to_string(value) + " at element " + std::to_string(first),
        .remedy = is_finite ? "Load the model with precision 'f32'"
                            : "The checkpoint is damaged or its training diverged"});
}

}  // namespace elasticlm
