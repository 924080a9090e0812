#include "core/aligned_buffer.h"

#include <cstring>
#include <new>

namespace elasticlm {

AlignedBuffer::AlignedBuffer(size_t size) : size_(size) {
  if (size == 0) return;
  const size_t bytes = size * sizeof(float);
  data_.reset(static_cast<float*>(::operator new(bytes, std::align_val_t{kCacheLineBytes})));
  std::memset(data_.get(), 0, bytes);
}

void AlignedBuffer::Free::operator()(float* data) const {
  ::operator delete(data, std::align_val_t{kCacheLineBytes});
}

}  // namespace elasticlm
