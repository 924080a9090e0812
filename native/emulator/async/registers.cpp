#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "emulator/async/async.h"
#include "emulator/thread.h"

namespace elasticlm::emulator {
namespace {

constexpr uint32_t kFileRegisters = 65536;  // of a multiprocessor
constexpr uint32_t kMaxRegisters = 256;     // of a thread
constexpr uint32_t kGroupThreads = 128;

// The registers of a block: each warpgroup's, and the pool of those that were released.
struct RegisterPool {
  // What the launch gives is the compiler's choice; the most it can be is an equal share of the file.
  RegisterPool()
      : at_launch(
            std::min(kFileRegisters / static_cast<uint32_t>(current_thread->block->threads.size()) / 8 * 8,
                     kMaxRegisters)),
        of_group(current_thread->block->warpgroup_meetings.size(), at_launch) {}

  uint32_t at_launch;
  std::vector<uint32_t> of_group;  // for each thread
  uint32_t released = 0;
};

void check_count(uint32_t registers, const char* operation) {
  if (registers < 24 || registers > kMaxRegisters || registers % 8 != 0) {
    fail(std::string(operation) + " to " + std::to_string(registers) +
         ", not a multiple of 8 from 24 to 256");
  }
}

}  // namespace

void registers_decrease(uint32_t registers) {
  constexpr const char* kOperation = "setmaxnreg.dec";
  check_count(registers, kOperation);
  RegisterPool& pool = block_state<RegisterPool>();
  uint32_t& own = pool.of_group[static_cast<size_t>(current_thread->warp->idx / 4)];
  meet(Scope::kWarpgroup, kOperation, std::as_const(registers), [&](const Deposits<const uint32_t>&) {
    if (registers > own) {
      fail(std::string(kOperation) + " to " + std::to_string(registers) + " from " + std::to_string(own));
    }
    pool.released += (own - registers) * kGroupThreads;
    own = registers;
  });
}

void registers_increase(uint32_t registers) {
  constexpr const char* kOperation = "setmaxnreg.inc";
  check_count(registers, kOperation);
  RegisterPool& pool = block_state<RegisterPool>();
  uint32_t& own = pool.of_group[static_cast<size_t>(current_thread->warp->idx / 4)];
  if (registers < own && own != pool.at_launch) {
    fail(std::string(kOperation) + " to " + std::to_string(registers) + " from " + std::to_string(own));
  }
  meet(Scope::kWarpgroup, kOperation);
  if (registers < own) own = registers;
  // The first of its threads to see enough of them takes them for all.
  const auto need = [&] { return (registers - own) * kGroupThreads; };
  while (own != registers) {
    wait_until([&] { return pool.released >= need(); },
               "setmaxnreg.inc: for registers that other warpgroups release");
    if (pool.released < need()) continue;
    pool.released -= need();
    own = registers;
  }
}

}  // namespace elasticlm::emulator
