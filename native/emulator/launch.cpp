// A launch from its first block to its last.
#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "emulator/intrinsics.h"
#include "emulator/random.h"
#include "emulator/scheduler.h"

namespace elasticlm::emulator {

Random random_source(1);

namespace {

constexpr std::align_val_t kSharedAlignment{1024};

// Blocks that run at once where the launch does not say that all do: races between blocks need no more.
constexpr uint32_t kMaxWave = 3;

}  // namespace

Scheduler::Scheduler(const Launch& launch, int parity) : launch_(launch), parity_(parity) {
  order_.resize(size_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  std::iota(order_.begin(), order_.end(), size_t{0});
  for (size_t i = order_.size(); i > 1; i--) {
    std::swap(order_[i - 1], order_[random_source.below(static_cast<uint32_t>(i))]);
  }
}

Scheduler::~Scheduler() {
  cancel_started();
  finish_wave();
}

void Scheduler::start_early() {
  dependency_open_ = false;
  start_wave();
  run_fibers();
  dependency_open_ = true;
}

void Scheduler::run() {
  if (live_threads_ > 0) run_fibers();
  for (;;) {
    for (const Block& block : blocks_) {
      if (launch_.programmatic && !block.waited_for_dependency) {
        throw make_fault("a block of a programmatic launch ended without grid_dependency_wait");
      }
    }
    finish_wave();
    if (num_started_ == order_.size()) return;
    start_wave();
    run_fibers();
  }
}

void Scheduler::start_wave() {
  const size_t remaining = order_.size() - num_started_;
  const size_t num_blocks =
      launch_.cooperative ? remaining : std::min<size_t>(remaining, 1 + random_source.below(kMaxWave));
  const size_t block_threads = size_t{launch_.block.x} * launch_.block.y * launch_.block.z;
  blocks_.resize(num_blocks);
  for (size_t i = 0; i < num_blocks; i++) {
    prepare_block(blocks_[i], order_[num_started_ + i], i * block_threads);
  }
  num_started_ += num_blocks;
  by_priority_ = random_source.below(2) == 0;
  idle_yields_ = 0;
  burst_ = 0;
}

void Scheduler::prepare_block(Block& block, size_t block_idx, size_t first_thread) {
  const dim3 size = launch_.block;
  const dim3 grid = launch_.grid;
  const auto linear_idx = static_cast<unsigned>(block_idx);
  const int num_threads = static_cast<int>(size.x * size.y * size.z);
  const int num_warps = (num_threads + 31) / 32;
  block.idx = {linear_idx % grid.x, linear_idx / grid.x % grid.y, linear_idx / grid.x / grid.y};
  block.num_live = num_threads;
  block.threads.resize(static_cast<size_t>(num_threads));
  block.warps.assign(static_cast<size_t>(num_warps), Warp{});
  block.warpgroup_meetings.assign(static_cast<size_t>((num_warps + 3) / 4), Meeting{});
  block.meeting = {};
  block.barriers = {};
  block.waited_for_dependency = false;
  block.shared_bytes = launch_.shared_bytes;
  if (block.shared_bytes > 0) {
    block.shared = static_cast<unsigned char*>(::operator new(block.shared_bytes, kSharedAlignment));
    std::memset(block.shared, 0xff, block.shared_bytes);
  }
  for (int rank = 0; rank < num_threads; rank++) {
    Thread& thread = block.threads[static_cast<size_t>(rank)];
    const auto i = static_cast<unsigned>(rank);
    thread.fiber =
        make_fiber(fiber_stack((first_thread + i) * 2 + static_cast<size_t>(parity_)), &Scheduler::enter);
    thread.idx = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    thread.rank = rank;
    thread.lane = rank % 32;
    thread.warp = &block.warps[static_cast<size_t>(rank / 32)];
    thread.block = &block;
    thread.waits_for = nullptr;
    thread.copies.clear();
    thread.copy_groups.clear();
  }
  for (int idx_in_block = 0; idx_in_block < num_warps; idx_in_block++) {
    Warp& warp = block.warps[static_cast<size_t>(idx_in_block)];
    const int num_lanes = std::min(32, num_threads - idx_in_block * 32);
    warp.block = &block;
    warp.lanes = &block.threads[static_cast<size_t>(idx_in_block) * 32];
    warp.idx = idx_in_block;
    warp.existing = num_lanes == 32 ? kAllLanes : lane_bit(num_lanes) - 1;
    warp.priority = random_source.bits();
    make_ready(warp, warp.existing);
  }
  live_threads_ += num_threads;
}

void Scheduler::finish_wave() {
  for (Block& block : blocks_) {
    block.states.clear();
    if (block.shared != nullptr) ::operator delete(block.shared, kSharedAlignment);
    block.shared = nullptr;
  }
  operations_.clear();
  pollers_.clear();
  ready_warps_.clear();
}

void Scheduler::run_fibers() {
  blockDim = launch_.block;
  gridDim = launch_.grid;
  host_.stack = host_stack();
  scheduler = this;
  try {
    if (Thread* first = next_thread()) {
      make_current(*first);
      switch_fiber(host_, first->fiber);
    }
  } catch (...) {
    failure_ = std::current_exception();
  }
  current_thread = nullptr;
  scheduler = nullptr;
  if (failure_) {
    cancel_started();
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void Scheduler::cancel_started() {
  cancelling_ = true;
  scheduler = this;
  for (Block& block : blocks_) {
    for (Thread& thread : block.threads) {
      if ((thread.warp->started & ~thread.warp->exited & lane_bit(thread.lane)) == 0) continue;
      make_current(thread);
      switch_fiber(host_, thread.fiber);
    }
  }
  scheduler = nullptr;
  cancelling_ = false;
  live_threads_ = 0;
}

// A thread's life.
void Scheduler::enter() {
  fiber_started();
  Scheduler& self = *scheduler;
  Thread& thread = *current_thread;
  thread.warp->started |= lane_bit(thread.lane);
  try {
    self.launch_.body();
    self.thread_exits();
  } catch (const Cancelled&) {
  } catch (...) {
    if (!self.failure_) self.failure_ = std::current_exception();
  }
  thread.warp->exited |= lane_bit(thread.lane);
  Thread* next = nullptr;
  if (!self.failure_ && !self.cancelling_ && self.live_threads_ > 0) {
    try {
      next = self.next_thread();
    } catch (...) {
      self.failure_ = std::current_exception();
    }
  }
  if (next != nullptr) make_current(*next);
  exit_to(thread.fiber, next != nullptr ? next->fiber : self.host_);
}

void Scheduler::thread_exits() {
  Thread& thread = *current_thread;
  Block& block = *thread.block;
  for (const Meeting& meeting : thread.warp->meetings) {
    if (meeting.num_arrived > 0 && (meeting.lanes & lane_bit(thread.lane)) != 0) {
      fail("the thread exits while other lanes of its warp wait for it at " + std::string(meeting.operation));
    }
  }
  const Meeting& warpgroup = block.warpgroup_meetings[static_cast<size_t>(thread.warp->idx / 4)];
  for (const Meeting* meeting : std::initializer_list<const Meeting*>{&block.meeting, &warpgroup}) {
    if (meeting->num_arrived > 0) {
      fail("divergent barrier: the thread exits while others wait for it at " +
           std::string(meeting->operation));
    }
  }
  if (--block.num_live == 0) {
    const auto num_in_flight =
        std::count_if(operations_.begin(), operations_.end(), [&](const Operation& operation) {
          return operation.block == &block && operation.landing == Landing::kAnyTime;
        });
    if (num_in_flight > 0) {
      fail("the block ends with " + std::to_string(num_in_flight) + " asynchronous operations in flight");
    }
  }
  live_threads_--;
  note_progress();
}

}  // namespace elasticlm::emulator
