#include "model/float_tensor.h"

#include <cstring>

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

// Whether every element has an exponent below the one that means infinity or NaN. Branch-free, so that the
// compiler makes vectors of it: it runs over every weight at load.
template <typename Bits>
bool all_finite(const std::byte* data, int64_t count, Bits exponent) {
  Bits any = 0;
  for (int64_t i = 0; i < count; ++i) {
    any |= static_cast<Bits>((load<Bits>(data, i) & exponent) == exponent);
  }
  return any == 0;
}

bool all_finite(const std::byte* data, DType dtype, int64_t count) {
  switch (dtype) {
    case DType::kF32:
      return all_finite<uint32_t>(data, count, 0x7f800000u);
    case DType::kF16:
      return all_finite<uint16_t>(data, count, 0x7c00u);
    case DType::kBF16:
      return all_finite<uint16_t>(data, count, 0x7f80u);
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

void require_finite(const TensorView& tensor, const std::string& name) {
  const int64_t count = num_elements(tensor);
  if (all_finite(tensor.data, tensor.dtype, count)) return;
  const int64_t element_bytes = dtype_bytes(tensor.dtype);
  int64_t first = 0;
  while (all_finite(tensor.data + first * element_bytes, tensor.dtype, 1)) ++first;
  float value = 0;
  widen(tensor.data + first * element_bytes, tensor.dtype, 1, &value);
  fail(ErrorCode::kCheckpointInvalid,
       {.expected = "finite weights",
        .subject = "tensor " + quoted(name),
        .received = std::to_string(value) + " at element " + std::to_string(first),
        .remedy = "The checkpoint is damaged or its training diverged"});
}

}  // namespace elasticlm
