// The source of every choice that the hardware is free to make.
#pragma once

#include <cstdint>

namespace elasticlm::emulator {

// xorshift64*
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u | 1) {}

  uint32_t bits() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1du) >> 32);
  }
  // In [0, limit).
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>((uint64_t{bits()} * limit) >> 32); }

 private:
  uint64_t state_;
};

// Shared by all launches, one after the other: set_seed begins it anew.
extern Random random_source;

}  // namespace elasticlm::emulator
