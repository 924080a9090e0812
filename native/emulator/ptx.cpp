#include "kernels/cuda/ptx.cuh"

#include <bit>
#include <cmath>
#include <cstring>

#include "emulator/scheduler.h"

namespace elasticlm::emulator {
namespace {

void land_copy(const PendingCopy& copy) {
  std::memcpy(copy.shared, copy.global != nullptr ? copy.global : copy.bytes.data(), copy.bytes.size());
}

}  // namespace

void copy_async(uint32_t shared, const void* global, bool valid) {
  PendingCopy copy = {shared_pointer(shared, 16, 16, "cp.async"), nullptr, {}};
  if (valid) {
    check_global(global, 16, 16, "cp.async");
    // The hardware may read the source at any time up to the wait.
    if ((random_bits() & 1) != 0) {
      copy.global = static_cast<const unsigned char*>(global);
    } else {
      std::memcpy(copy.bytes.data(), global, copy.bytes.size());
    }
  }
  std::memset(copy.shared, 0xff, copy.bytes.size());
  current_thread->copies.push_back(copy);
}

void commit_copies() { current_thread->copy_groups.push_back(current_thread->copies.size()); }

void wait_for_copies(int num_pending) {
  std::vector<PendingCopy>& copies = current_thread->copies;
  std::vector<size_t>& groups = current_thread->copy_groups;
  if (groups.size() <= static_cast<size_t>(num_pending)) return;
  const size_t num_landing = groups.size() - static_cast<size_t>(num_pending);
  const size_t num_copies = groups[num_landing - 1];
  // Copies land in any order.
  if ((random_bits() & 1) != 0) {
    for (size_t i = 0; i < num_copies; i++) land_copy(copies[i]);
  } else {
    for (size_t i = num_copies; i-- > 0;) land_copy(copies[i]);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(num_copies));
  groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(num_landing));
  for (size_t& end : groups) end -= num_copies;
}

float exp2_approx(float x) {
  constexpr float kMinNormal = 0x1p-126f;
  if (std::isnan(x)) return x;
  if (std::abs(x) < kMinNormal) return 1.0f;
  const double exact = std::exp2(static_cast<double>(x));
  // An error of up to 1.1e-7, which with the rounding to f32 (2^-24) stays below 2^-22.5 = 1.68e-7. The same
  // for each x.
  const uint32_t hash = std::bit_cast<uint32_t>(x) * 0x9e3779b1u;
  const double error = (static_cast<double>(hash) * 0x1p-31 - 1.0) * 1.1e-7;
  const auto value = static_cast<float>(exact * (1.0 + error));
  return value < kMinNormal ? 0.0f : value;
}

void add_release(uint32_t* global, uint32_t value) {
  check_global(global, 4, 4, "red.release");
  if ((random_bits() & 1) != 0) yield("red.release");
  *global += value;
  scheduler->note_progress();
}

uint32_t load_acquire(const uint32_t* global) {
  check_global(global, 4, 4, "ld.acquire");
  yield("ld.acquire");
  return *global;
}

void grid_dependency_wait() { scheduler->wait_for_dependency(); }
// The launch behind may begin at any time as it is (Scheduler::start_early).
void grid_dependency_launch() {}

}  // namespace elasticlm::emulator
