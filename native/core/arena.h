// Scratch memory of one thread: laid out by the plan, grown to the largest plan seen, never shrunk while in
// use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/aligned_buffer.h"

namespace elasticlm {

class Arena {
 public:
  // At least `count` elements, cache-line aligned, content unspecified. Invalidates what it gave before.
  // Throws std::bad_alloc and is empty then.
  template <typename Element>
  Element* reserve(int64_t count) {
    constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
    const int64_t num_floats = (count * static_cast<int64_t>(sizeof(Element)) + kFloat - 1) / kFloat;
    if (static_cast<int64_t>(buffer_.size()) < num_floats) {
      bytes_.store(0, std::memory_order_relaxed);
      buffer_ = AlignedBuffer();  // free first: two copies are never needed
      buffer_ = AlignedBuffer(static_cast<size_t>(num_floats));
      bytes_.store(static_cast<int64_t>(buffer_.size() * sizeof(float)), std::memory_order_relaxed);
    }
    return reinterpret_cast<Element*>(buffer_.data());
  }
  // Memory held now; may be asked from any thread.
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  AlignedBuffer buffer_;
  std::atomic<int64_t> bytes_{0};
};

}  // namespace elasticlm
