// A zero-filled, cache-line aligned run of floats that owns its memory and can be moved.
#pragma once

#include <cstddef>
#include <memory>

namespace elasticlm {

inline constexpr size_t kCacheLineBytes = 64;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Throws std::bad_alloc when there is no memory.
  explicit AlignedBuffer(size_t size);

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(float* data) const;
  };
  std::unique_ptr<float[], Free> data_;
  size_t size_ = 0;
};

}  // namespace elasticlm
