#include "core/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/dtype.h"

namespace elasticlm {
namespace {

constexpr int32_t kZeroPoint = 128;
constexpr float kLargestQ = 127.0f;

int64_t element_offset(int64_t n, int64_t k, int64_t K, Precision precision) {
  const int64_t e = word_elements(precision);
  const int64_t word = (n / kPanelColumns) * words_of(K, precision) * kPanelColumns +
                       (k / e) * kPanelColumns + n % kPanelColumns;
  return (word * e + k % e) * element_bytes(precision);
}

size_t num_words(int64_t num_blocks, int64_t K, Precision precision) {
  return static_cast<size_t>(round_up(num_blocks, kPanelBlocks) * kBlockColumns * words_of(K, precision));
}

template <typename T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}
template <typename T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

}  // namespace

float PackedMatrixView::value(int64_t n, int64_t k) const {
  const std::byte* const at = words + element_offset(n, k, K, precision);
  switch (precision) {
    case Precision::kF32:
      return get<float>(at);
    case Precision::kBF16:
      return bf16_to_f32(get<uint16_t>(at));
    case Precision::kI8:
      break;
  }
  return scales[n] * static_cast<float>(get<uint8_t>(at) - kZeroPoint);
}

PackedMatrix::PackedMatrix(int64_t num_blocks, int64_t K, Precision precision)
    : PackedMatrix(num_blocks, K, precision, AlignedBuffer(num_words(num_blocks, K, precision))) {}

PackedMatrix::PackedMatrix(int64_t num_blocks, int64_t K, Precision precision, HugeMemory& memory)
    : PackedMatrix(num_blocks, K, precision, AlignedBuffer(num_words(num_blocks, K, precision), memory)) {}

PackedMatrix::PackedMatrix(int64_t num_blocks, int64_t K, Precision precision, AlignedBuffer words)
    : K_(K),
      num_blocks_(num_blocks),
      precision_(precision),
      words_(std::move(words)),
      bias_(static_cast<size_t>(num_blocks * kBlockColumns)) {
  if (precision != Precision::kI8) return;
  scales_ = AlignedBuffer(bias_.size());
  sums_ = AlignedBuffer(bias_.size());
  std::fill_n(reinterpret_cast<std::byte*>(words_.data()), words_.size() * kWordBytes, std::byte{kZeroPoint});
}

std::byte* PackedMatrix::element(int64_t n, int64_t k) {
  return reinterpret_cast<std::byte*>(words_.data()) + element_offset(n, k, K_, precision_);
}

void PackedMatrix::set(int64_t n, int64_t k, float weight) {
  if (precision_ == Precision::kBF16) {
    put(element(n, k), f32_to_bf16(weight));
  } else {
    put(element(n, k), weight);
  }
}

void PackedMatrix::set_column(int64_t n, std::span<const float> weights) {
  if (precision_ == Precision::kI8) return quantize_column(n, weights);
  for (int64_t k = 0; k < K_; ++k) set(n, k, weights[static_cast<size_t>(k)]);
}

void PackedMatrix::quantize_column(int64_t n, std::span<const float> weights) {
  float largest = 0.0f;
  for (const float weight : weights) largest = std::max(largest, std::abs(weight));
  const float scale = largest / kLargestQ;
  scales_.data()[n] = scale;
  for (int64_t k = 0; k < K_; ++k) {
    const float q = scale == 0.0f ? 0.0f : weights[static_cast<size_t>(k)] / scale;
    // A scale below the smallest normal f32 has few digits: the quotient may pass 127.
    const auto rounded = static_cast<int32_t>(std::nearbyint(std::clamp(q, -kLargestQ, kLargestQ)));
    put(element(n, k), static_cast<uint8_t>(rounded + kZeroPoint));
  }
  take_sum(n);
}

void PackedMatrix::copy_column(int64_t n, const PackedMatrixView& from, int64_t from_n,
                               std::span<const int64_t> depth) {
  for (int64_t k = 0; k < K_; ++k) {
    const std::byte* const source =
        from.words + element_offset(from_n, depth[static_cast<size_t>(k)], from.K, precision_);
    std::memcpy(element(n, k), source, static_cast<size_t>(element_bytes(precision_)));
  }
  if (precision_ != Precision::kI8) return;
  scales_.data()[n] = from.scales[from_n];
  take_sum(n);
}

void PackedMatrix::take_sum(int64_t n) {
  int32_t sum = 0;
  for (int64_t k = 0; k < K_; ++k) sum += get<uint8_t>(element(n, k)) - kZeroPoint;
  sums_.data()[n] = scales_.data()[n] * static_cast<float>(sum);
}

PackedMatrixView PackedMatrix::view() const {
  return {.words = reinterpret_cast<const std::byte*>(words_.data()),
          .bias = bias_.data(),
          .scales = precision_ == Precision::kI8 ? scales_.data() : nullptr,
          .sums = precision_ == Precision::kI8 ? sums_.data() : nullptr,
          .precision = precision_,
          .K = K_,
          .num_blocks = num_blocks_};
}

int64_t PackedMatrix::bytes() const {
  return static_cast<int64_t>((words_.size() + bias_.size() + scales_.size() + sums_.size()) * sizeof(float));
}

}  // namespace elasticlm
