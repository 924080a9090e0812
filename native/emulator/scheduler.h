// Runs the blocks of one launch as fibers, and decides at every meeting who goes on.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "emulator/block.h"
#include "emulator/thread.h"

namespace elasticlm::emulator {

struct Launch {
  std::function<void()> body;  // the kernel with its arguments, for one thread
  const void* kernel = nullptr;
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  bool cooperative = false;
  bool programmatic = false;
};

// The kernel's name where the program's symbols have it, its address otherwise.
std::string kernel_name(const void* kernel);

class Scheduler {
 public:
  // At most two launches are under way, of different parity.
  Scheduler(const Launch& launch, int parity);
  // Unwinds what has not ended.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs the first blocks up to where they wait for the launch before (grid_dependency_wait).
  void start_early();
  // Runs all blocks to their end. This and start_early throw Fault, or what the kernel itself threw.
  void run();

  // --- called by the thread that runs ---

  // True for the last thread of the meeting. Others wait until it has left.
  bool arrive(Meeting& meeting, const char* operation, int expected);
  bool arrive_lanes(uint32_t mask, const char* operation);
  void leave_lanes(uint32_t mask);
  // Of all threads of a warpgroup or block.
  void leave_warps(Meeting& meeting, size_t first_warp, size_t num_warps);
  void barrier(int id, int threads, bool wait);
  void yield(const char* what);
  void wait_until(bool (*predicate)(void*), void* context, const char* what);
  void wait_for_dependency();

  uint64_t begin_operation(Landing landing, std::function<void()> land);
  bool operation_in_flight(uint64_t id) const;
  void land_operation(uint64_t id);

  // Something happened that a spinning thread may have waited for.
  void note_progress() { idle_yields_ = 0; }
  Fault make_fault(const std::string& what) const;

 private:
  struct Operation {
    uint64_t id;
    const Block* block;
    Landing landing;
    std::function<void()> land;
  };
  struct Cancelled {};

  // The blocks that are resident together.
  void start_wave();
  void prepare_block(Block& block, size_t block_idx, size_t first_thread);
  void finish_wave();
  // Runs fibers until all have ended or nobody can run before the dependency opens.
  void run_fibers();
  void cancel_started();
  static void enter();
  void thread_exits();

  // Runs somebody else until this thread is chosen again.
  void suspend();
  static void make_current(Thread& thread);
  Thread* next_thread();
  Warp* choose_warp();
  void poll();
  bool land_any();
  void make_ready(Warp& warp, uint32_t lanes);
  static Meeting& lanes_meeting(uint32_t mask);

  const Launch& launch_;
  const int parity_;
  std::vector<size_t> order_;  // of blocks
  size_t num_started_ = 0;     // of order_
  std::vector<Block> blocks_;  // the wave
  std::vector<Warp*> ready_warps_;
  std::vector<Thread*> pollers_;
  std::vector<Operation> operations_;
  uint64_t next_operation_ = 1;
  Warp* warp_ = nullptr;  // whose lanes run now
  int burst_ = 0;         // meetings until another warp is chosen
  bool by_priority_ = false;
  bool dependency_open_ = true;
  bool cancelling_ = false;
  Fiber host_;
  std::exception_ptr failure_;
  int64_t idle_yields_ = 0;
  int live_threads_ = 0;
};

// The launch that runs; nullptr outside of kernels.
extern Scheduler* scheduler;

}  // namespace elasticlm::emulator
