// Memory in huge pages, for what is read over and over: packed weights. With pages of 4 KB a pass over 42 MB
// of weights misses the processor's table of pages ten thousand times.
#pragma once

#include <cstddef>
#include <memory>

namespace elasticlm {

// Hands out blocks of large chunks one after the other. A chunk lives as long as any of its blocks.
class HugeMemory {
 public:
  // Zero-filled, aligned to a cache line. Throws std::bad_alloc when there is no memory.
  std::shared_ptr<float> take(size_t num_floats);

 private:
  std::shared_ptr<std::byte> chunk_;
  size_t chunk_bytes_ = 0;
  size_t used_bytes_ = 0;
};

}  // namespace elasticlm
