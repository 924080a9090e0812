// Tests spend their time here, also in builds for debugging.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#include <bit>
#include <cstring>

#include "emulator/scheduler.h"
#include "emulator/scheduler_report.h"

namespace elasticlm::emulator {

bool Scheduler::arrive(Meeting& meeting, const char* operation, int expected) {
  if (meeting.num_arrived == 0) {
    meeting.operation = operation;
    meeting.expected = expected;
  } else if (meeting.operation != operation && std::strcmp(meeting.operation, operation) != 0) {
    fail("threads that must meet stand at different operations: " + std::string(operation) + " and " +
         meeting.operation);
  }
  if (++meeting.num_arrived == meeting.expected) return true;
  current_thread->waits_for = operation;
  suspend();
  return false;
}

void Scheduler::leave_warps(Meeting& meeting, size_t first_warp, size_t num_warps) {
  meeting.num_arrived = 0;
  note_progress();
  burst_ = 0;
  for (size_t i = 0; i < num_warps; i++) {
    Warp& warp = current_thread->block->warps[first_warp + i];
    make_ready(warp, warp.existing);
  }
  suspend();
}

Meeting& Scheduler::lanes_meeting(uint32_t mask) {
  Warp& warp = *current_thread->warp;
  return warp.meetings[static_cast<size_t>(std::countr_zero(mask & warp.existing))];
}

bool Scheduler::arrive_lanes(uint32_t mask, const char* operation) {
  if ((mask & lane_bit(current_thread->lane)) == 0) {
    fail(std::string(operation) + ": the lane is not in its own mask");
  }
  Meeting& meeting = lanes_meeting(mask);
  if (meeting.num_arrived > 0) {
    if (meeting.mask != mask) {
      fail(std::string(operation) + ": lanes of one warp come with different masks that overlap");
    }
    return arrive(meeting, operation, meeting.expected);
  }
  const Warp& warp = *current_thread->warp;
  meeting.mask = mask;
  meeting.lanes = mask & warp.existing;
  const uint32_t exited = meeting.lanes & warp.exited;
  if (exited != 0) {
    fail(std::string(operation) + " waits for lane " + std::to_string(std::countr_zero(exited)) +
         ", which has exited");
  }
  return arrive(meeting, operation, std::popcount(meeting.lanes));
}

void Scheduler::leave_lanes(uint32_t mask) {
  Meeting& meeting = lanes_meeting(mask);
  meeting.num_arrived = 0;
  note_progress();
  burst_--;
  make_ready(*current_thread->warp, meeting.lanes);
  suspend();
}

void Scheduler::barrier(int id, int threads, bool wait) {
  Thread& self = *current_thread;
  Warp& warp = *self.warp;
  Block& block = *self.block;
  const char* operation = barrier_operation(id, wait);
  if (operation == nullptr) fail("named barriers have ids 1 to 15, not " + std::to_string(id));
  if (threads <= 0 || threads % 32 != 0 || static_cast<size_t>(threads) > block.threads.size()) {
    fail(std::string(operation) + " of " + std::to_string(threads) + " threads in a block of " +
         std::to_string(block.threads.size()));
  }
  if (!arrive_lanes(kAllLanes, operation)) return;

  NamedBarrier& barrier = block.barriers[static_cast<size_t>(id)];
  if (barrier.num_arrived > 0 && barrier.threads != threads) {
    fail(std::string(operation) + " of " + std::to_string(threads) + " threads where others said " +
         std::to_string(barrier.threads));
  }
  if ((barrier.arrived & lane_bit(warp.idx)) != 0) {
    fail(std::string(operation) + ": the warp comes a second time before the barrier is complete");
  }
  barrier.threads = threads;
  barrier.arrived |= lane_bit(warp.idx);
  if (wait) barrier.waiting |= lane_bit(warp.idx);
  barrier.num_arrived += 32;
  warp.meetings[0].num_arrived = 0;
  if (barrier.num_arrived == threads) {
    for (Warp& other : block.warps) {
      if ((barrier.waiting & lane_bit(other.idx)) != 0) make_ready(other, other.existing);
    }
    barrier = {};
    burst_ = 0;
  }
  note_progress();
  if (!wait) make_ready(warp, warp.existing);
  self.waits_for = operation;
  suspend();
}

}  // namespace elasticlm::emulator
