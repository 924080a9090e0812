#include "emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && \
    !defined(ELASTICLM_EMULATOR_UCONTEXT)
#define ELASTICLM_FIBER_ASSEMBLY 1
#else
#define ELASTICLM_FIBER_ASSEMBLY 0
#include <ucontext.h>
#endif

#if ELASTICLM_FIBER_ASSEMBLY
// Saves what a call must keep on the running stack, its pointer in *save, and goes on with the stack `load`.
extern "C" void elasticlm_switch_context(void** save, void* load);
#endif

#if ELASTICLM_FIBER_ASSEMBLY && defined(__x86_64__)
asm(R"(
  .text
  .globl elasticlm_switch_context
  .hidden elasticlm_switch_context
  .type elasticlm_switch_context, @function
elasticlm_switch_context:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size elasticlm_switch_context, . - elasticlm_switch_context
)");
#elif ELASTICLM_FIBER_ASSEMBLY
asm(R"(
  .text
  .globl elasticlm_switch_context
  .hidden elasticlm_switch_context
  .type elasticlm_switch_context, %function
elasticlm_switch_context:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size elasticlm_switch_context, . - elasticlm_switch_context
)");
#endif

namespace elasticlm::emulator {
namespace {

// Sanitized frames are several times larger.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 512 << 10;
#else
constexpr size_t kStackBytes = 128 << 10;
#endif

// Stacks begin at different cache sets: 64 threads of one block touch the same depth one after the other, and
// equal low address bits would put them all in the same few lines of a 32 KB first-level cache.
constexpr size_t kColourStep = 1088;
constexpr size_t kColours = 15;

#if ELASTICLM_FIBER_ASSEMBLY
void switch_context(Fiber& from, Fiber& to) { elasticlm_switch_context(&from.context, to.context); }

// What elasticlm_switch_context pops when it first switches to the stack.
void* first_context(const FiberStack& stack, void (*entry)()) {
#if defined(__x86_64__)
  constexpr size_t kWords =
      8;  // six registers, the entry as return address, the entry's own return address (none)
  constexpr size_t kEntryWord = 6;
#else
  constexpr size_t kWords = 20;
  constexpr size_t kEntryWord = 11;  // x30
#endif
  const uintptr_t top = (reinterpret_cast<uintptr_t>(stack.low) + stack.bytes) & ~uintptr_t{15};
  auto* words = reinterpret_cast<uint64_t*>(top) - kWords;
  std::memset(words, 0, kWords * sizeof(uint64_t));
  words[kEntryWord] = reinterpret_cast<uint64_t>(entry);
  return words;
}
#else
void switch_context(Fiber& from, Fiber& to) {
  ucontext_t here;
  from.context = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to.context));
}

// The ucontext lies at the low end of the fiber's own stack.
void* first_context(const FiberStack& stack, void (*entry)()) {
  auto* context = new (stack.low) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack.low + sizeof(ucontext_t);
  context->uc_stack.ss_size = stack.bytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
#endif

}  // namespace

FiberStack fiber_stack(size_t slot) {
  static std::vector<unsigned char*> stacks;
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  while (stacks.size() <= slot) {
    void* memory = mmap(nullptr, page + kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) throw std::bad_alloc();
    stacks.push_back(static_cast<unsigned char*>(memory) + page);
  }
  return {stacks[slot], kStackBytes - slot % kColours * kColourStep};
}

FiberStack host_stack() {
#if defined(__SANITIZE_ADDRESS__)
  thread_local const FiberStack own = [] {
    pthread_attr_t attributes;
    void* low = nullptr;
    size_t bytes = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &low, &bytes);
    pthread_attr_destroy(&attributes);
    return FiberStack{static_cast<unsigned char*>(low), bytes};
  }();
  return own;
#else
  return {};
#endif
}

Fiber make_fiber(FiberStack stack, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  // The frame of an entry that never returned.
  constexpr size_t kEntryBytes = 4096;
  __asan_unpoison_memory_region(stack.low + stack.bytes - kEntryBytes, kEntryBytes);
#endif
  return {first_context(stack, entry), stack, nullptr};
}

void switch_fiber(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack.low, to.stack.bytes);
  switch_context(from, to);
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#else
  switch_context(from, to);
#endif
}

void exit_to(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(nullptr, to.stack.low, to.stack.bytes);
#endif
  switch_context(from, to);
  std::abort();
}

void fiber_started() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace elasticlm::emulator
