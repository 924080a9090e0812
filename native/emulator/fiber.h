// A stack that runs until it switches to another one. Exceptions must not leave a fiber's entry.
#pragma once

#include <cstddef>

namespace elasticlm::emulator {

struct FiberStack {
  unsigned char* low = nullptr;  // lowest usable byte; a guard page lies below
  size_t bytes = 0;
};

// Stacks are kept for the next fiber: slot i always gives the same one.
FiberStack fiber_stack(size_t slot);

// The calling thread's own. (AddressSanitizer wants to know it; empty without.)
FiberStack host_stack();

struct Fiber {
  void* context = nullptr;     // of the suspended fiber: its stack pointer
  FiberStack stack;            // empty for the host's own
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// A fiber that will run entry() on `stack` when switched to. entry never returns: it leaves with exit_to.
Fiber make_fiber(FiberStack stack, void (*entry)());
void switch_fiber(Fiber& from, Fiber& to);
[[noreturn]] void exit_to(Fiber& from, Fiber& to);
// The first thing that an entry does.
void fiber_started();

}  // namespace elasticlm::emulator
