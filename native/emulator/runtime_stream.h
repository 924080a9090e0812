// Streams are adversarial: what is enqueued runs when somebody waits for it, and not before.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "emulator/runtime_api.h"
#include "emulator/scheduler.h"

namespace elasticlm::emulator {

// One thing that a stream or a graph does: a kernel, or anything else.
struct Work {
  std::shared_ptr<const Launch> launch;
  std::function<void()> other;
};

using Stream = std::shared_ptr<CUstream_st>;

}  // namespace elasticlm::emulator

struct CUgraph_st {
  std::vector<elasticlm::emulator::Work> nodes;
};
struct CUgraphExec_st {
  std::vector<elasticlm::emulator::Work> nodes;
};

struct CUstream_st {
  struct Entry {
    uint64_t number = 0;
    std::vector<elasticlm::emulator::Work> works;
    std::vector<std::pair<elasticlm::emulator::Stream, uint64_t>>
        after;  // entries of other streams that must be done
  };
  bool waits_for_legacy = true;  // not created with cudaStreamNonBlocking
  bool is_legacy = false;
  int device = 0;
  std::deque<Entry> entries;
  uint64_t num_enqueued = 0;
  uint64_t num_done = 0;
  std::unique_ptr<CUgraph_st> capture;
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
  std::thread::id capture_thread;
  bool capture_broken = false;
};

struct CUevent_st {
  bool has_timing = true;
  elasticlm::emulator::Stream stream;  // null until recorded
  uint64_t number = 0;
  int64_t time_ns = 0;
};

namespace elasticlm::emulator {

// The stream of a handle (nullptr: the legacy default stream); null for a handle that is none.
Stream find_stream(cudaStream_t handle);

// Appends work to the stream, or to the graph that it captures.
cudaError_t enqueue(cudaStream_t stream, Work work);
// What a call that waits or allocates answers while a capture forbids it (that of this thread, or of any in
// global mode); it also spoils that capture. cudaSuccess when none does.
cudaError_t refuse_in_capture();
// Runs the stream's entries up to and with `number`, after what they wait for.
void run_until(const Stream& stream, uint64_t number);
// Runs everything of all streams.
void run_all();
// Runs `wait` inside of a call that releases something and so often stands in a destructor: a Fault is kept
// for the next call that waits.
cudaError_t wait_to_release(const std::function<void()>& wait);

}  // namespace elasticlm::emulator
