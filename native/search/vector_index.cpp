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
// Wider vectors than any encoder gives; keeps count * dims * 4 far inside 64 bits.
constexpr uint32_t kMaxDims = 1u << 20;

struct Header {
  char magic[8];
  uint32_t dims;
  uint32_t zero;
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
  if (header.zero != 0 || !std::all_of(std::begin(header.zeros), std::end(header.zeros), is_zero)) {
    fail_header(path, "zeros in the header's reserved bytes", "other bytes");
  }
  if (header.dims == 0 || header.dims > kMaxDims) {
    fail_header(path, "1 to " + std::to_string(kMaxDims) + " dims", std::to_string(header.dims));
  }
  if (header.count > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    fail_header(path, "a count below 2^31", std::to_string(header.count));
  }
  const uint64_t vector_bytes =
      header.count * header.dims * sizeof(float);  // below 2^53, by the two checks above
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

}  // namespace

struct VectorIndex::State {
  MappedFile mapping;  // empty when the vectors were copied
  AlignedBuffer copied;
  const float* vectors = nullptr;  // [count, dims]
  int64_t count = 0;
  int64_t dims = 0;
};

VectorIndex::VectorIndex(const std::string& path) : state_(std::make_unique<State>()) {
  state_->mapping = MappedFile(path);
  const Header header = checked_header(state_->mapping, path);
  // Offset 64 of a page-aligned mapping: aligned to a cache line, as kernels like it.
  state_->vectors = reinterpret_cast<const float*>(state_->mapping.data() + kHeaderBytes);
  state_->count = static_cast<int64_t>(header.count);
  state_->dims = header.dims;
}

VectorIndex::VectorIndex(std::span<const float> vectors, int64_t dims) : state_(std::make_unique<State>()) {
  if (dims <= 0 || dims > kMaxDims || vectors.size() % static_cast<size_t>(dims) != 0 ||
      vectors.size() / static_cast<size_t>(dims) > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    fail(ErrorCode::kIndexInvalid,
         {"[count, dims] floats with dims in [1, 2^20] and count below 2^31", "vectors",
          std::to_string(vectors.size()) + " floats of " + std::to_string(dims) + " dims", ""});
  }
  state_->copied = AlignedBuffer(vectors.size());
  std::copy(vectors.begin(), vectors.end(), state_->copied.data());
  state_->vectors = state_->copied.data();
  state_->count = static_cast<int64_t>(vectors.size()) / dims;
  state_->dims = dims;
}

VectorIndex::~VectorIndex() = default;

int64_t VectorIndex::dims() const { return state_->dims; }
int64_t VectorIndex::count() const { return state_->count; }
const float* VectorIndex::vectors() const { return state_->vectors; }

}  // namespace elasticlm
