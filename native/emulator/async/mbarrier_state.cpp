#include "emulator/async/mbarrier_state.h"

namespace elasticlm::emulator {
namespace {

// "Contents of the mbarrier object": both counts have so many bits, the bytes a sign besides.
constexpr int64_t kMaxCount = (1 << 20) - 1;

}  // namespace

const char* MbarrierState::init(uint32_t arrivals) {
  if (arrivals < 1 || arrivals > kMaxCount) return "an arrival count that is not 1 to 2^20 - 1";
  *this = {};
  expected_ = pending_ = arrivals;
  return nullptr;
}

const char* MbarrierState::add(int64_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kMaxCount || bytes_ < -kMaxCount) return "a byte count beyond 2^20 - 1";
  return nullptr;
}

void MbarrierState::complete_phase() {
  if (pending_ != 0 || bytes_ != 0) return;
  ++phase_;
  pending_ = expected_;
}

const char* MbarrierState::arrive() {
  if (pending_ == 0) return "one more arrival than the phase expects (its bytes are still outstanding)";
  --pending_;
  complete_phase();
  return nullptr;
}

const char* MbarrierState::complete(uint32_t bytes) {
  const char* fault = add(-static_cast<int64_t>(bytes));
  complete_phase();
  return fault;
}

}  // namespace elasticlm::emulator
