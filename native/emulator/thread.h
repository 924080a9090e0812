// What the twins of CUDA's and PTX's words are written with: who runs, meeting other threads, waiting,
// operations in flight, and addresses in shared memory. Everything here is called from inside a kernel.
//
// One host thread runs all fibers of a launch, one at a time, and a fiber runs until it meets or waits. So a
// twin needs no locks, and what it does between two calls of this header is one atomic step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <typeindex>

#include "emulator/block.h"
#include "emulator/fault.h"

namespace elasticlm::emulator {

// --- who runs --------------------------------------------------------------------------------------------

// The thread that runs now: its rank in the block (x fastest), lane, warp and block.
extern Thread* current_thread;

// Throws Fault, naming the kernel, block and thread that run.
[[noreturn]] void fail(const std::string& what);

// The launch's seeded source of every choice that the hardware is free to make.
uint32_t random_bits();
// In [0, limit).
inline uint32_t random_below(uint32_t limit) {
  return static_cast<uint32_t>((uint64_t{random_bits()} * limit) >> 32);
}

// --- meeting ---------------------------------------------------------------------------------------------

enum class Scope {
  kWarp,       // all 32 threads
  kWarpgroup,  // 4 warps from a multiple of 4 on
  kBlock,
};

// What each thread of a meeting brought: [i] is thread i's of the scope (lane, rank in the warpgroup, rank in
// the block).
template <typename Deposit>
class Deposits {
 public:
  explicit Deposits(Thread* first) : first_(first) {}
  Deposit& operator[](int i) const { return *static_cast<Deposit*>(first_[i].deposit); }

 private:
  Thread* first_;
};

// Counts the current thread in at `operation`; true for the last one, which then calls leave. Others return
// false once the last one has left. Faults when the scope's threads stand at different operations or one has
// exited.
bool arrive(Scope scope, const char* operation);
void leave(Scope scope);
// The same for the lanes of a mask, which must hold the current lane.
bool arrive_lanes(uint32_t mask, const char* operation);
void leave_lanes(uint32_t mask);

Thread* first_of(Scope scope);

// All threads of the scope come with the same operation, each with its deposit; the last one runs act(all
// deposits), which may read and write every deposit and what deposits point to; then all go on. `act` may
// fail() but not meet or wait.
template <typename Deposit, typename Act>
void meet(Scope scope, const char* operation, Deposit& mine, Act&& act) {
  current_thread->deposit = const_cast<std::remove_const_t<Deposit>*>(&mine);
  if (!arrive(scope, operation)) return;
  act(Deposits<Deposit>(first_of(scope)));
  leave(scope);
}
template <typename Deposit, typename Act>
void meet_lanes(uint32_t mask, const char* operation, Deposit& mine, Act&& act) {
  current_thread->deposit = const_cast<std::remove_const_t<Deposit>*>(&mine);
  if (!arrive_lanes(mask, operation)) return;
  act(Deposits<Deposit>(first_of(Scope::kWarp)));
  leave_lanes(mask);
}
// A meeting to which nobody brings anything.
inline void meet(Scope scope, const char* operation) {
  if (arrive(scope, operation)) leave(scope);
}

// Barrier `id` (1 to 15) of `threads` threads of the block. The whole warp meets first (the instructions are
// .aligned).
void barrier_sync(int id, int threads);
void barrier_arrive(int id, int threads);

// --- waiting ---------------------------------------------------------------------------------------------

// Lets others run; the current thread stays runnable. A launch that does nothing but yield for long faults.
void yield(const char* what);

void wait_until_erased(bool (*predicate)(void*), void* context, const char* what);
// Returns once predicate() is true. It is called at any time from any fiber: it reads memory and neither
// meets, waits nor looks at current_thread. A launch where nobody can run and no predicate is true faults
// with `what`.
template <typename Predicate>
void wait_until(Predicate&& predicate, const char* what) {
  wait_until_erased([](void* context) { return static_cast<bool>((*static_cast<Predicate*>(context))()); },
                    const_cast<void*>(static_cast<const void*>(&predicate)), what);
}

// --- operations in flight --------------------------------------------------------------------------------

enum class Landing {
  // The scheduler lands it when chance will have it, at the latest when nobody can run. A block that ends
  // before faults.
  kAnyTime,
  kWhenTold,  // only land_operation does; forgotten at the block's end
};
// Registers an operation of the current block. `land` is run once, from any fiber (so it must not look at
// current_thread), and neither meets nor waits.
uint64_t begin_operation(Landing landing, std::function<void()> land);
// Lands it now if it has not landed.
void land_operation(uint64_t id);
bool operation_in_flight(uint64_t id);

// State of a twin that lives as long as the current block: one object of each type, made at the first call.
std::shared_ptr<void>& block_state_slot(std::type_index type);
template <typename State>
State& block_state() {
  std::shared_ptr<void>& slot = block_state_slot(typeid(State));
  if (!slot) slot = std::make_shared<State>();
  return *static_cast<State*>(slot.get());
}

// --- addresses -------------------------------------------------------------------------------------------

// The block's dynamic shared memory.
unsigned char* shared_memory();
// Offset in the shared window and back; both fault when (a byte of) it is not in the block's dynamic shared
// memory. `alignment` 1 for any; `operation` is named in the fault.
uint32_t shared_offset(const void* pointer);
unsigned char* shared_pointer(uint32_t offset, size_t bytes, size_t alignment, const char* operation);
// Faults unless the bytes lie in one allocation of device memory, aligned.
void check_global(const void* pointer, size_t bytes, size_t alignment, const char* operation);

}  // namespace elasticlm::emulator
