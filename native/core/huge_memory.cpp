#include "core/huge_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

#include "core/aligned_buffer.h"

namespace elasticlm {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
// Several matrices of any encoder; what is left over at its end is never touched and takes no memory.
constexpr size_t kChunkBytes = size_t{16} << 20;

size_t round_up_to(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Zero-filled, aligned to a huge page.
std::shared_ptr<std::byte> map_chunk(size_t bytes) {
  const size_t mapped = bytes + kHugePageBytes;
  void* const memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  const size_t first =
      round_up_to(reinterpret_cast<uintptr_t>(memory), kHugePageBytes) - reinterpret_cast<uintptr_t>(memory);
  std::byte* const begin = static_cast<std::byte*>(memory) + first;
#if defined(MADV_HUGEPAGE)
  // Advice: where the system has no huge pages to give, ordinary ones do.
  ::madvise(begin, bytes, MADV_HUGEPAGE);
#endif
  return {begin, [memory, mapped](std::byte*) { ::munmap(memory, mapped); }};
}

}  // namespace

std::shared_ptr<float> HugeMemory::take(size_t num_floats) {
  const size_t bytes = round_up_to(num_floats * sizeof(float), kCacheLineBytes);
  if (used_bytes_ + bytes > chunk_bytes_) {
    chunk_bytes_ = std::max(kChunkBytes, round_up_to(bytes, kHugePageBytes));
    chunk_ = map_chunk(chunk_bytes_);
    used_bytes_ = 0;
  }
  std::byte* const block = chunk_.get() + used_bytes_;
  used_bytes_ += bytes;
  return {chunk_, reinterpret_cast<float*>(block)};
}

}  // namespace elasticlm
