#include "core/aligned_buffer.h"

#include <cstring>
#include <new>

namespace elasticlm {

AlignedBuffer::AlignedBuffer(size_t size) : size_(size) {
  if (size == 0) return;
  constexpr std::align_val_t kAlignment{kCacheLineBytes};
  const size_t bytes = size * sizeof(float);
  data_.reset(static_cast<float*>(::operator new(bytes, kAlignment)),
              [](float* data) { ::operator delete(data, kAlignment); });
  std::memset(data_.get(), 0, bytes);
}

}  // namespace elasticlm
