#include "emulator/async/mbarriers.h"

#include "emulator/async/async.h"
#include "emulator/async/proxy.h"
#include "emulator/thread.h"

namespace elasticlm::emulator {
namespace {

// An object's bits are opaque; these are unlikely to be written by chance.
constexpr uint64_t kMbarrierMark = 0x6d62617272696572;
constexpr uint32_t kMbarrierBytes = 8;

std::string place_of(const Mbarrier& barrier) {
  return " of the mbarrier at shared offset " + std::to_string(barrier.offset) + " (phase " +
         std::to_string(barrier.state.phase()) + ", " + std::to_string(barrier.state.pending()) +
         " arrivals and " + std::to_string(barrier.state.bytes()) + " bytes pending)";
}

void fail_if(const char* fault, const char* operation, const Mbarrier& barrier) {
  if (fault != nullptr) fail(std::string(operation) + place_of(barrier) + ": " + fault);
}

}  // namespace

void Mbarriers::init(uint32_t offset, uint32_t arrivals) {
  constexpr const char* kOperation = "mbarrier_init";
  unsigned char* bytes = shared_pointer(offset, kMbarrierBytes, kMbarrierBytes, kOperation);
  const auto [place, is_new] = barriers_.try_emplace(offset);
  Mbarrier& barrier = place->second;
  if (!is_new) fail(std::string(kOperation) + place_of(barrier) + ": it is in use already");
  barrier.object = reinterpret_cast<uint64_t*>(bytes);
  barrier.offset = offset;
  barrier.owner = current_thread->rank;
  fail_if(barrier.state.init(arrivals), kOperation, barrier);
  *barrier.object = kMbarrierMark;
}

void Mbarriers::fence() {
  for (auto& [offset, barrier] : barriers_) {
    if (barrier.owner == current_thread->rank) barrier.fenced = true;
  }
}

Mbarrier& Mbarriers::at(uint32_t offset, const char* operation) {
  const auto place = barriers_.find(offset);
  if (place == barriers_.end()) {
    fail(std::string(operation) + ": no mbarrier has been initialised at shared offset " +
         std::to_string(offset));
  }
  check_mbarrier(place->second, operation);
  return place->second;
}

void check_mbarrier(const Mbarrier& barrier, const std::string& operation) {
  if (*barrier.object != kMbarrierMark)
    fail(operation + place_of(barrier) + ": something was written over it");
}

void mbarrier_init(uint32_t barrier, uint32_t arrivals) { block_state<Mbarriers>().init(barrier, arrivals); }

void mbarrier_init_fence() {
  block_state<Mbarriers>().fence();
  block_state<AsyncProxy>().fence();
}

void mbarrier_arrive(uint32_t barrier) {
  constexpr const char* kOperation = "mbarrier_arrive";
  Mbarrier& object = block_state<Mbarriers>().at(barrier, kOperation);
  fail_if(object.state.arrive(), kOperation, object);
}

void mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  constexpr const char* kOperation = "mbarrier_arrive_expect";
  Mbarrier& object = block_state<Mbarriers>().at(barrier, kOperation);
  fail_if(object.state.expect(bytes), kOperation, object);
  fail_if(object.state.arrive(), kOperation, object);
}

void mbarrier_wait(uint32_t barrier, uint32_t parity) {
  if (parity > 1) fail("mbarrier_wait for parity " + std::to_string(parity) + "; there are 0 and 1");
  const Mbarrier& object = block_state<Mbarriers>().at(barrier, "mbarrier_wait");
  const std::string what =
      "mbarrier_wait at shared offset " + std::to_string(barrier) + " for parity " + std::to_string(parity);
  wait_until([&] { return object.state.completed(parity); }, what.c_str());
}

}  // namespace elasticlm::emulator
