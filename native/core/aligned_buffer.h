// A zero-filled, cache-line aligned run of floats that owns its memory and can be moved.
#pragma once

#include <cstddef>
#include <memory>

#include "core/huge_memory.h"

namespace elasticlm {

inline constexpr size_t kCacheLineBytes = 64;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Throws std::bad_alloc when there is no memory.
  explicit AlignedBuffer(size_t size);
  // In huge pages, a part of a chunk.
  AlignedBuffer(size_t size, HugeMemory& memory) : data_(memory.take(size)), size_(size) {}
  AlignedBuffer(AlignedBuffer&&) = default;
  AlignedBuffer& operator=(AlignedBuffer&&) = default;

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  std::shared_ptr<float> data_;
  size_t size_ = 0;
};

}  // namespace elasticlm
