#include "search/vector_index.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/aligned_buffer.h"
#include "core/mapped_file.h"
#include "core/status.h"

namespace elasticlm {
namespace {

static_assert(std::endian::native == std::endian::little, "the index file is mapped as it lies on disk");

constexpr char kMagic[8] = {'E', 'L', 'M', 'V', 'I', 'D', 'X', '1'};
constexpr uint64_t kHeaderBytes = 64;
constexpr uint32_t kF32Vectors = 0;
constexpr uint32_t kI8Vectors = 1;
// Wider vectors than any encoder gives; keeps count * dims * 4 far inside 64 bits.
constexpr uint32_t kMaxDims = 1u << 20;

struct Header {
  char magic[8];
  uint32_t dims;
  uint32_t precision;
  uint64_t count;
  uint64_t ids_offset;
  uint64_t ids_bytes;
  uint8_t zeros[24];
};
static_assert(sizeof(Header) == kHeaderBytes);

[[noreturn]] void fail_header(const std::string& path, const std::string& expected,
                              const std::string& received) {
  fail(ErrorCode::kIndexInvalid, {expected, path, received, "Write the index again with VectorIndex.save()"});
}

Header checked_header(const MappedFile& mapping, const std::string& path) {
  if (mapping.size() < kHeaderBytes) {
    fail_header(path, "a header of 64 bytes", "a file of " + std::to_string(mapping.size()) + " bytes");
  }
  Header header;
  std::memcpy(&header, mapping.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    fail_header(path, "the magic ELMVIDX1 in its first 8 bytes", "other bytes");
  }
  const auto is_zero = [](uint8_t byte) { return byte == 0; };
  if (!std::all_of(std::begin(header.zeros), std::end(header.zeros), is_zero)) {
    fail_header(path, "zeros in the header's reserved bytes", "other bytes");
  }
  if (header.precision != kF32Vectors && header.precision != kI8Vectors) {
    fail_header(path, "precision 0 (f32) or 1 (i8)", std::to_string(header.precision));
  }
  if (header.dims == 0 || header.dims > kMaxDims) {
    fail_header(path, "1 to " + std::to_string(kMaxDims) + " dims", std::to_string(header.dims));
  }
  if (header.count > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    fail_header(path, "a count below 2^31", std::to_string(header.count));
  }
  // Below 2^53, by the checks above.
  const uint64_t vector_bytes =
      header.count * (header.precision == kF32Vectors
                          ? header.dims * sizeof(float)
                          : static_cast<uint64_t>(code_stride(header.dims)) + sizeof(float));
  if (header.ids_offset != kHeaderBytes + vector_bytes) {
    fail_header(path, "ids_offset " + std::to_string(kHeaderBytes + vector_bytes),
                std::to_string(header.ids_offset));
  }
  if (header.ids_offset > mapping.size() || header.ids_bytes != mapping.size() - header.ids_offset) {
    fail_header(path,
                "a file that ends with " + std::to_string(header.ids_bytes) + " bytes of ids at offset " +
                    std::to_string(header.ids_offset),
                "a file of " + std::to_string(mapping.size()) + " bytes");
  }
  return header;
}

// The number of vectors in all parts.
int64_t checked_count(std::span<const std::span<const float>> parts, int64_t dims) {
  size_t floats = 0;
  bool are_whole = dims > 0 && dims <= kMaxDims;
  for (const std::span<const float> part : parts) {
    floats += part.size();
    are_whole = are_whole && part.size() % static_cast<size_t>(dims) == 0;
  }
  if (!are_whole ||
      floats / static_cast<size_t>(dims) > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    fail(ErrorCode::kIndexInvalid,
         {"[count, dims] floats with dims in [1, 2^20] and count below 2^31", "vectors",
          std::to_string(floats) + " floats of " + std::to_string(dims) + " dims", ""});
  }
  return static_cast<int64_t>(floats) / dims;
}

}  // namespace

struct VectorIndex::State {
  MappedFile mapping;    // empty when the vectors were copied
  AlignedBuffer copied;  // vectors or codes
  AlignedBuffer copied_scales;
  Precision precision = Precision::kF32;
  const float* vectors = nullptr;  // [count, dims]
  const uint8_t* codes = nullptr;  // [count, code_stride(dims)]
  const float* scales = nullptr;   // [count]
  int64_t count = 0;
  int64_t dims = 0;
};

VectorIndex::VectorIndex(const std::string& path) : state_(std::make_unique<State>()) {
  state_->mapping = MappedFile(path);
  const Header header = checked_header(state_->mapping, path);
  state_->count = static_cast<int64_t>(header.count);
  state_->dims = header.dims;
  // Offset 64 of a page-aligned mapping: aligned to a cache line, as kernels like it.
  const std::byte* const first = state_->mapping.data() + kHeaderBytes;
  if (header.precision == kF32Vectors) {
    state_->vectors = reinterpret_cast<const float*>(first);
    return;
  }
  state_->precision = Precision::kI8;
  state_->codes = reinterpret_cast<const uint8_t*>(first);
  state_->scales = reinterpret_cast<const float*>(first + state_->count * code_stride(state_->dims));
}

VectorIndex::VectorIndex(std::span<const float> vectors, int64_t dims, Precision precision)
    : VectorIndex(std::span(&vectors, 1), dims, precision) {}

VectorIndex::VectorIndex(std::span<const std::span<const float>> parts, int64_t dims, Precision precision)
    : state_(std::make_unique<State>()) {
  state_->count = checked_count(parts, dims);
  state_->dims = dims;
  state_->precision = precision;
  if (precision == Precision::kF32) {
    state_->copied = AlignedBuffer(static_cast<size_t>(state_->count * dims));
    float* to = state_->copied.data();
    for (const std::span<const float> part : parts) to = std::copy(part.begin(), part.end(), to);
    state_->vectors = state_->copied.data();
    return;
  }
  const int64_t floats = state_->count * code_stride(dims) / static_cast<int64_t>(sizeof(float));
  state_->copied = AlignedBuffer(static_cast<size_t>(floats));
  state_->copied_scales = AlignedBuffer(static_cast<size_t>(state_->count));
  auto* const codes = reinterpret_cast<uint8_t*>(state_->copied.data());
  int64_t first = 0;
  for (const std::span<const float> part : parts) {
    quantize_vectors(part, dims, codes + first * code_stride(dims), state_->copied_scales.data() + first);
    first += static_cast<int64_t>(part.size()) / dims;
  }
  state_->codes = codes;
  state_->scales = state_->copied_scales.data();
}

VectorIndex::~VectorIndex() = default;

int64_t VectorIndex::dims() const { return state_->dims; }
int64_t VectorIndex::count() const { return state_->count; }
Precision VectorIndex::precision() const { return state_->precision; }
const float* VectorIndex::vectors() const { return state_->vectors; }
const uint8_t* VectorIndex::codes() const { return state_->codes; }
const float* VectorIndex::scales() const { return state_->scales; }
int64_t VectorIndex::bytes() const {
  const auto float_bytes = static_cast<int64_t>(sizeof(float));
  const int64_t vector_bytes =
      precision() == Precision::kF32 ? dims() * float_bytes : code_stride(dims()) + float_bytes;
  return count() * vector_bytes;
}

}  // namespace elasticlm
