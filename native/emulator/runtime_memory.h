// Device memory: plain heap, one allocation for each cudaMalloc, so that AddressSanitizer sees its bounds.
#pragma once

#include <cstddef>

namespace elasticlm::emulator {

// Whether all the bytes lie in one allocation.
bool is_device_memory(const void* pointer, size_t bytes);

}  // namespace elasticlm::emulator
