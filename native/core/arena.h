// Scratch memory of one thread: laid out by the plan, grown to the largest plan seen, never shrunk while in use.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"

namespace elasticlm {

class Arena {
 public:
  // At least `num_floats` floats, cache-line aligned, content unspecified. Invalidates what it gave before.
  float* reserve(int64_t num_floats) {
    if (static_cast<int64_t>(buffer_.size()) < num_floats) {
      buffer_ = AlignedBuffer();  // free first: two copies are never needed
      buffer_ = AlignedBuffer(static_cast<size_t>(num_floats));
    }
    return buffer_.data();
  }
  int64_t bytes() const { return static_cast<int64_t>(buffer_.size() * sizeof(float)); }

 private:
  AlignedBuffer buffer_;
};

}  // namespace elasticlm
