// The counts of one mbarrier, from the PTX manual's "Parallel Synchronization and Communication Instructions:
// mbarrier".
#pragma once

#include <cstdint>

namespace elasticlm::emulator {

// Each operation returns what the manual leaves undefined about it, or nullptr.
class MbarrierState {
 public:
  const char* init(uint32_t arrivals);
  const char* arrive();
  // expect-tx and complete-tx. The bytes that complete may come before those that are expected: the count may
  // be below zero for a time, within a phase.
  const char* expect(uint32_t bytes) { return add(static_cast<int64_t>(bytes)); }
  const char* complete(uint32_t bytes);

  // Whether the phase of this parity has completed: test_wait and try_wait look at the current and the one
  // before it.
  bool completed(uint32_t parity) const { return (phase_ & 1) != parity; }

  uint64_t phase() const { return phase_; }
  uint32_t pending() const { return pending_; }
  int64_t bytes() const { return bytes_; }

 private:
  const char* add(int64_t bytes);
  void complete_phase();

  uint32_t expected_ = 0;
  uint32_t pending_ = 0;
  int64_t bytes_ = 0;
  uint64_t phase_ = 0;  // the current, incomplete one
};

}  // namespace elasticlm::emulator
