// Tests spend their time here, also in builds for debugging.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#include "emulator/scheduler.h"

#include <algorithm>
#include <bit>

#include "emulator/random.h"
#include "emulator/scheduler_report.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace elasticlm::emulator {

Thread* current_thread = nullptr;
Scheduler* scheduler = nullptr;

namespace {

// Some 10 ms of nothing but yields, when a real wait is over after a few for each thread.
constexpr int64_t kMaxIdleYields = 1'000'000;

// A random set bit of a mask that has one.
int random_lane(uint32_t lanes, uint32_t random) {
  const int turn = static_cast<int>(random >> 27);
  return (std::countr_zero(std::rotr(lanes, turn)) + turn) & 31;
}

}  // namespace

// --- who runs next ---------------------------------------------------------------------------------------

void Scheduler::make_ready(Warp& warp, uint32_t lanes) {
  if (warp.ready == 0 && lanes != 0) {
    warp.ready_position = static_cast<int>(ready_warps_.size());
    ready_warps_.push_back(&warp);
  }
  warp.ready |= lanes;
}

void Scheduler::make_current(Thread& thread) {
  current_thread = &thread;
  threadIdx = thread.idx;
}

void Scheduler::suspend() {
  Thread& self = *current_thread;
  Thread* next = next_thread();
  if (next == &self) return;
  if (next != nullptr) make_current(*next);
  switch_fiber(self.fiber, next != nullptr ? next->fiber : host_);
  if (cancelling_) throw Cancelled{};
}

// nullptr when nobody can run before the launch before has ended.
Thread* Scheduler::next_thread() {
  if (burst_ <= 0 || warp_->ready == 0) {
    warp_ = choose_warp();
    if (warp_ == nullptr) return nullptr;
    blockIdx = warp_->block->idx;
  }
  const int lane = random_lane(warp_->ready, random_source.bits());
  warp_->ready &= ~lane_bit(lane);
  if (warp_->ready == 0) {
    ready_warps_.back()->ready_position = warp_->ready_position;
    ready_warps_[static_cast<size_t>(warp_->ready_position)] = ready_warps_.back();
    ready_warps_.pop_back();
  }
  return warp_->lanes + lane;
}

Warp* Scheduler::choose_warp() {
  if (!pollers_.empty() && (ready_warps_.empty() || random_source.below(2) == 0)) poll();
  if (!operations_.empty() && random_source.below(8) == 0) land_any();
  while (ready_warps_.empty()) {
    const bool landed = land_any();
    poll();
    if (landed || !ready_warps_.empty()) continue;
    burst_ = 0;
    if (!dependency_open_) return nullptr;
    fail(stuck_report(blocks_));
  }
  // 1 to 128 meetings: sometimes all warps in step, sometimes one far ahead of the others.
  burst_ = 1 << random_source.below(8);
  // A warp of low priority is left behind for as long as others can run; who that is changes now and then.
  if (by_priority_ && random_source.below(32) != 0) {
    return *std::max_element(ready_warps_.begin(), ready_warps_.end(),
                             [](const Warp* a, const Warp* b) { return a->priority < b->priority; });
  }
  Warp* warp = ready_warps_[random_source.below(static_cast<uint32_t>(ready_warps_.size()))];
  warp->priority = random_source.bits();
  return warp;
}

void Scheduler::poll() {
  for (size_t i = pollers_.size(); i-- > 0;) {
    Thread* thread = pollers_[i];
    if (!thread->predicate(thread->predicate_context)) continue;
    pollers_[i] = pollers_.back();
    pollers_.pop_back();
    make_ready(*thread->warp, lane_bit(thread->lane));
  }
}

Fault Scheduler::make_fault(const std::string& what) const {
  FaultPlace place;
  place.kernel = kernel_name(launch_.kernel);
  if (current_thread != nullptr) {
    place.block = current_thread->block->idx;
    place.thread = current_thread->idx;
  }
  return Fault(place, what);
}

// --- waiting ---------------------------------------------------------------------------------------------

void Scheduler::yield(const char* what) {
  if (++idle_yields_ > kMaxIdleYields) fail(std::string(what) + ": waits for what never comes");
  make_ready(*current_thread->warp, lane_bit(current_thread->lane));
  // Not by priority, or the spinning warp might be chosen for ever.
  current_thread->warp->priority = 0;
  burst_ = 0;
  suspend();
}

void Scheduler::wait_until(bool (*predicate)(void*), void* context, const char* what) {
  if (predicate(context)) return;
  Thread& self = *current_thread;
  self.predicate = predicate;
  self.predicate_context = context;
  self.waits_for = what;
  pollers_.push_back(&self);
  suspend();
  note_progress();
}

void Scheduler::wait_for_dependency() {
  current_thread->block->waited_for_dependency = true;
  auto is_open = [this] { return dependency_open_; };
  wait_until([](void* context) { return (*static_cast<decltype(is_open)*>(context))(); }, &is_open,
             "griddepcontrol.wait");
}

// --- operations in flight --------------------------------------------------------------------------------

uint64_t Scheduler::begin_operation(Landing landing, std::function<void()> land) {
  operations_.push_back({next_operation_, current_thread->block, landing, std::move(land)});
  return next_operation_++;
}

bool Scheduler::operation_in_flight(uint64_t id) const {
  return std::any_of(operations_.begin(), operations_.end(),
                     [&](const Operation& other) { return other.id == id; });
}

void Scheduler::land_operation(uint64_t id) {
  for (size_t i = 0; i < operations_.size(); i++) {
    if (operations_[i].id != id) continue;
    const std::function<void()> land = std::move(operations_[i].land);
    operations_.erase(operations_.begin() + static_cast<std::ptrdiff_t>(i));
    land();
    note_progress();
    return;
  }
}

// One that may land at any time.
bool Scheduler::land_any() {
  if (operations_.empty()) return false;
  const size_t first = random_source.below(static_cast<uint32_t>(operations_.size()));
  for (size_t i = 0; i < operations_.size(); i++) {
    const Operation& operation = operations_[(first + i) % operations_.size()];
    if (operation.landing != Landing::kAnyTime) continue;
    land_operation(operation.id);
    return true;
  }
  return false;
}

}  // namespace elasticlm::emulator
