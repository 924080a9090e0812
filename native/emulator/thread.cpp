#include "emulator/thread.h"

#include "emulator/random.h"
#include "emulator/runtime_memory.h"
#include "emulator/scheduler.h"

namespace elasticlm::emulator {
namespace {

// Where dynamic shared memory begins in the window: a null pointer or a forgotten shared_address() is then
// out of range.
constexpr uint32_t kSharedBase = 1024;

Meeting& meeting_of(Scope scope) {
  Thread& self = *current_thread;
  if (scope == Scope::kBlock) return self.block->meeting;
  return self.block->warpgroup_meetings[static_cast<size_t>(self.warp->idx / 4)];
}

}  // namespace

void fail(const std::string& what) { throw scheduler->make_fault(what); }

uint32_t random_bits() { return random_source.bits(); }

bool arrive(Scope scope, const char* operation) {
  if (scope == Scope::kWarp) {
    if (current_thread->warp->existing != kAllLanes) fail(std::string(operation) + " needs a whole warp");
    return scheduler->arrive_lanes(kAllLanes, operation);
  }
  Block& block = *current_thread->block;
  if (block.num_live != static_cast<int>(block.threads.size()) && scope == Scope::kBlock) {
    fail("divergent barrier: threads of the block have exited before " + std::string(operation));
  }
  int expected = static_cast<int>(block.threads.size());
  if (scope == Scope::kWarpgroup) {
    const int first_warp = current_thread->warp->idx / 4 * 4;
    if (static_cast<int>(block.threads.size()) < (first_warp + 4) * 32) {
      fail(std::string(operation) + " needs a whole warpgroup");
    }
    for (int i = 0; i < 4; i++) {
      if (block.warps[static_cast<size_t>(first_warp + i)].exited != 0) {
        fail(std::string(operation) + " waits for threads of the warpgroup that have exited");
      }
    }
    expected = 128;
  }
  return scheduler->arrive(meeting_of(scope), operation, expected);
}

void leave(Scope scope) {
  if (scope == Scope::kWarp) return scheduler->leave_lanes(kAllLanes);
  const Thread& self = *current_thread;
  const bool whole = scope == Scope::kBlock;
  scheduler->leave_warps(meeting_of(scope), whole ? 0 : static_cast<size_t>(self.warp->idx / 4 * 4),
                         whole ? self.block->warps.size() : 4);
}

bool arrive_lanes(uint32_t mask, const char* operation) { return scheduler->arrive_lanes(mask, operation); }
void leave_lanes(uint32_t mask) { scheduler->leave_lanes(mask); }

Thread* first_of(Scope scope) {
  const Warp& warp = *current_thread->warp;
  if (scope == Scope::kWarp) return warp.lanes;
  if (scope == Scope::kBlock) return current_thread->block->threads.data();
  return current_thread->block->threads.data() + warp.idx / 4 * 128;
}

void barrier_sync(int id, int threads) { scheduler->barrier(id, threads, true); }
void barrier_arrive(int id, int threads) { scheduler->barrier(id, threads, false); }

void yield(const char* what) { scheduler->yield(what); }
void wait_until_erased(bool (*predicate)(void*), void* context, const char* what) {
  scheduler->wait_until(predicate, context, what);
}

uint64_t begin_operation(Landing landing, std::function<void()> land) {
  return scheduler->begin_operation(landing, std::move(land));
}
void land_operation(uint64_t id) { scheduler->land_operation(id); }
bool operation_in_flight(uint64_t id) { return scheduler->operation_in_flight(id); }

std::shared_ptr<void>& block_state_slot(std::type_index type) {
  auto& states = current_thread->block->states;
  for (auto& [key, state] : states) {
    if (key == type) return state;
  }
  return states.emplace_back(type, nullptr).second;
}

unsigned char* shared_memory() { return current_thread->block->shared; }

uint32_t shared_offset(const void* pointer) {
  const Block& block = *current_thread->block;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const auto begin = reinterpret_cast<uintptr_t>(block.shared);
  // One past the end may be formed, as of any array.
  if (block.shared == nullptr || address < begin || address > begin + block.shared_bytes) {
    fail("shared_address: the pointer is not in the block's shared memory");
  }
  return kSharedBase + static_cast<uint32_t>(address - begin);
}

unsigned char* shared_pointer(uint32_t offset, size_t bytes, size_t alignment, const char* operation) {
  const Block& block = *current_thread->block;
  if (offset < kSharedBase || offset - kSharedBase + bytes > block.shared_bytes) {
    fail(std::string(operation) + ": shared address out of range: " + std::to_string(bytes) + " bytes at " +
         std::to_string(int64_t{offset} - kSharedBase) + " of " + std::to_string(block.shared_bytes));
  }
  if (offset % alignment != 0) {
    fail(std::string(operation) + ": shared address " + std::to_string(offset - kSharedBase) +
         " is not a multiple of " + std::to_string(alignment));
  }
  return block.shared + (offset - kSharedBase);
}

void check_global(const void* pointer, size_t bytes, size_t alignment, const char* operation) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
    fail(std::string(operation) + ": global address is not a multiple of " + std::to_string(alignment));
  }
  if (!is_device_memory(pointer, bytes)) {
    fail(std::string(operation) + ": global address out of range: " + std::to_string(bytes) +
         " bytes are not in one allocation of device memory");
  }
}

}  // namespace elasticlm::emulator
