// A word of an operand, wherever it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace elasticlm {

// By force inline: objects of several instruction sets use it and none may leave a copy for the linker.
[[gnu::always_inline]] inline uint32_t load_word(const std::byte* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

}  // namespace elasticlm
