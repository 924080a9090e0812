#include "emulator/async/layout.h"

namespace elasticlm::emulator {
namespace {

constexpr uint32_t kRowBytes = 128;
constexpr int kPatternRows = 8;
constexpr int kRowElements = 64;
constexpr uint32_t kElementBytes = 2;
// An instruction's depth of 16 elements.
constexpr uint32_t kDepthBytes = 32;

}  // namespace

MatrixDescriptor decode_descriptor(uint64_t bits) {
  const auto field = [&](int low, int size) {
    return static_cast<uint32_t>((bits >> low) & ((uint64_t{1} << size) - 1));
  };
  constexpr uint64_t kFields = 0x3fffull | 0x3fffull << 16 | 0x3fffull << 32 | 0x7ull << 49 | 0x3ull << 62;
  return {.start = field(0, 14) * 16,
          .leading_offset = field(16, 14) * 16,
          .stride_offset = field(32, 14) * 16,
          .base_offset = field(49, 3),
          .swizzle = field(62, 2),
          .reserved = bits & ~kFields};
}

std::optional<std::string> descriptor_fault(const MatrixDescriptor& descriptor, const OperandShape& shape) {
  const auto not_multiple = [](const char* field, uint32_t value) {
    return std::string(field) + " of " + std::to_string(value) +
           " bytes, not a multiple of the swizzle's 1024";
  };
  if (descriptor.reserved != 0)
    return "a matrix descriptor with reserved bits set (an offset that ran over its field?)";
  if (descriptor.swizzle != 1) {
    return "a matrix descriptor of swizzle mode " + std::to_string(descriptor.swizzle) +
           "; only 1 (128 bytes) is modelled";
  }
  if (descriptor.base_offset != 0) return "a matrix descriptor with a base offset; only 0 is modelled";
  const uint32_t in_pattern = descriptor.start % kSwizzlePattern;
  if (shape.mn_major) {
    if (in_pattern != 0) return not_multiple("an MN-major operand's start address", descriptor.start);
    if (shape.extent > kRowElements && descriptor.leading_offset % kSwizzlePattern != 0) {
      return not_multiple("an MN-major operand's leading byte offset", descriptor.leading_offset);
    }
    if (shape.extent > kRowElements && descriptor.leading_offset == 0) {
      return "an MN-major operand of more than 64 columns with a leading byte offset of 0";
    }
  } else if (in_pattern + kDepthBytes > kRowBytes) {
    return "a K-major operand that starts at byte " + std::to_string(in_pattern) +
           " of its swizzle pattern: 16 elements of depth must lie in the first 128 bytes";
  }
  if (descriptor.stride_offset % kSwizzlePattern != 0) {
    return not_multiple("a stride byte offset", descriptor.stride_offset);
  }
  if (descriptor.stride_offset == 0) return "a matrix descriptor with a stride byte offset of 0";
  return std::nullopt;
}

uint32_t element_address(const MatrixDescriptor& descriptor, const OperandShape& shape, int mn, int k) {
  const int row = shape.mn_major ? k : mn;     // of 128 bytes
  const int column = shape.mn_major ? mn : k;  // in the direction of a row
  const auto rows = static_cast<uint32_t>(row / kPatternRows) * descriptor.stride_offset +
                    static_cast<uint32_t>(row % kPatternRows) * kRowBytes;
  const auto columns = static_cast<uint32_t>(column / kRowElements) * descriptor.leading_offset +
                       static_cast<uint32_t>(column % kRowElements) * kElementBytes;
  return swizzle_128(descriptor.start + rows + columns);
}

}  // namespace elasticlm::emulator
