#include "emulator/runtime_stream.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "emulator/random.h"
#include "emulator/runtime.h"

namespace elasticlm::emulator {
namespace {

std::vector<Stream>& streams() {
  static std::vector<Stream> all = [] {
    auto legacy = std::make_shared<CUstream_st>();
    legacy->is_legacy = true;
    return std::vector<Stream>{legacy};
  }();
  return all;
}

const Stream& legacy_stream() { return streams().front(); }

// Spoils the captures of streams for which `concerns` is true; `refusal` when there is one.
template <typename Concerns>
cudaError_t spoil_captures(Concerns&& concerns, cudaError_t refusal) {
  cudaError_t status = cudaSuccess;
  for (const Stream& stream : streams()) {
    if (stream->capture == nullptr || !concerns(*stream)) continue;
    stream->capture_broken = true;
    status = refusal;
  }
  return status;
}

// Of a call that waits for this stream.
cudaError_t refuse_wait(const CUstream_st& waited) {
  const cudaError_t own = spoil_captures([&](const CUstream_st& stream) { return &stream == &waited; },
                                         cudaErrorStreamCaptureUnsupported);
  return own != cudaSuccess ? own : refuse_in_capture();
}

// What the entry must come after beyond its own stream: the legacy default stream and those that wait for it
// keep the order in which the host enqueued.
std::vector<std::pair<Stream, uint64_t>> legacy_order(const Stream& stream) {
  std::vector<std::pair<Stream, uint64_t>> after;
  if (stream->is_legacy) {
    for (const Stream& other : streams()) {
      if (other != stream && other->waits_for_legacy) after.emplace_back(other, other->num_enqueued);
    }
  } else if (stream->waits_for_legacy) {
    after.emplace_back(legacy_stream(), legacy_stream()->num_enqueued);
  }
  return after;
}

// Work of the legacy default stream would have to come after a capture's.
cudaError_t refuse_legacy(const CUstream_st& used) {
  if (!used.is_legacy) return cudaSuccess;
  return spoil_captures([](const CUstream_st& stream) { return stream.waits_for_legacy; },
                        cudaErrorStreamCaptureImplicit);
}

bool is_elsewhere(const CUstream_st& stream) {
  return !stream.is_legacy && stream.device != current_device();
}

cudaError_t append(const Stream& stream, std::vector<Work> works) {
  CUstream_st::Entry entry;
  entry.number = ++stream->num_enqueued;
  entry.works = std::move(works);
  entry.after = legacy_order(stream);
  stream->entries.push_back(std::move(entry));
  return cudaSuccess;
}

// Runs works one after the other. A programmatic kernel behind a kernel may begin before that one does, and
// then waits for it.
class WorkRunner {
 public:
  // `next` is what comes after it, if that is known.
  void run(const Work& work, const Work* next) {
    std::unique_ptr<Scheduler> own = std::move(started_);
    if (work.launch == nullptr) return work.other();
    if (own == nullptr) own = std::make_unique<Scheduler>(*work.launch, parity_);
    if (next != nullptr && next->launch != nullptr && next->launch->programmatic &&
        random_source.below(2) == 0) {
      parity_ ^= 1;
      started_ = std::make_unique<Scheduler>(*next->launch, parity_);
      started_->start_early();
    }
    own->run();
  }

 private:
  int parity_ = 0;
  std::unique_ptr<Scheduler> started_;
};

cudaError_t add_stream(cudaStream_t* handle, unsigned flags) {
  if ((flags & ~cudaStreamNonBlocking) != 0) return cudaErrorInvalidValue;
  auto stream = std::make_shared<CUstream_st>();
  stream->device = current_device();
  stream->waits_for_legacy = (flags & cudaStreamNonBlocking) == 0;
  streams().push_back(stream);
  *handle = stream.get();
  return cudaSuccess;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A fault of work that a releasing call ran.
std::exception_ptr kept_fault;

bool has_happened(const CUevent_st& event) {
  return event.stream == nullptr || event.stream->num_done >= event.number;
}

// What follows entry.works[i] on the stream, when nothing else must come before it.
const Work* next_work(const CUstream_st& stream, const CUstream_st::Entry& entry, size_t i,
                      uint64_t last_number) {
  if (i + 1 < entry.works.size()) return &entry.works[i + 1];
  if (entry.number >= last_number || stream.entries.empty()) return nullptr;
  const CUstream_st::Entry& next = stream.entries.front();
  const bool free = std::all_of(next.after.begin(), next.after.end(),
                                [](const auto& other) { return other.first->num_done >= other.second; });
  return free && !next.works.empty() ? &next.works.front() : nullptr;
}

}  // namespace

Stream find_stream(cudaStream_t handle) {
  if (handle == nullptr) return legacy_stream();
  for (const Stream& stream : streams()) {
    if (stream.get() == handle) return stream;
  }
  return nullptr;
}

cudaError_t enqueue(cudaStream_t handle, Work work) {
  const Stream stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  // Copies may go to another device's stream.
  if (work.launch != nullptr && is_elsewhere(*stream)) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) {
    stream->capture->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  const cudaError_t refused = refuse_legacy(*stream);
  if (refused != cudaSuccess) return refused;
  std::vector<Work> works;
  works.push_back(std::move(work));
  return append(stream, std::move(works));
}

cudaError_t refuse_in_capture() {
  const auto forbids = [](const CUstream_st& stream) {
    return stream.capture_mode == cudaStreamCaptureModeGlobal ||
           (stream.capture_mode == cudaStreamCaptureModeThreadLocal &&
            stream.capture_thread == std::this_thread::get_id());
  };
  return spoil_captures(forbids, cudaErrorStreamCaptureUnsupported);
}

void run_until(const Stream& stream, uint64_t number) {
  if (kept_fault) std::rethrow_exception(std::exchange(kept_fault, nullptr));
  try {
    WorkRunner runner;
    while (stream->num_done < number) {
      const CUstream_st::Entry entry = std::move(stream->entries.front());
      stream->entries.pop_front();
      for (const auto& [other, other_number] : entry.after) run_until(other, other_number);
      for (size_t i = 0; i < entry.works.size(); i++) {
        runner.run(entry.works[i], next_work(*stream, entry, i, number));
      }
      stream->num_done = entry.number;
    }
  } catch (...) {
    forget_work();
    throw;
  }
}

void run_all() {
  const std::vector<Stream> all = streams();
  for (const Stream& stream : all) run_until(stream, stream->num_enqueued);
}

cudaError_t wait_to_release(const std::function<void()>& wait) {
  std::exception_ptr kept = std::exchange(kept_fault, nullptr);
  try {
    wait();
  } catch (const Fault&) {
    kept = std::current_exception();
  }
  kept_fault = kept;
  return kept ? cudaErrorLaunchFailure : cudaSuccess;
}

void forget_work() {
  kept_fault = nullptr;
  for (const Stream& stream : streams()) {
    stream->entries.clear();
    stream->num_done = stream->num_enqueued;
    stream->capture.reset();
    stream->capture_broken = false;
  }
  cudaGetLastError();
}

}  // namespace elasticlm::emulator

using namespace elasticlm::emulator;

// --- streams ---------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return api_call([&] { return add_stream(stream, flags); });
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return api_call([&] {
    const Stream stream = handle == nullptr ? nullptr : find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t status = wait_to_release([&] { run_until(stream, stream->num_enqueued); });
    std::erase(streams(), stream);
    return status;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return api_call([&] {
    const Stream stream = find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t refused = refuse_wait(*stream);
    if (refused != cudaSuccess) return refused;
    run_until(stream, stream->num_enqueued);
    // The legacy default stream is empty only when those that wait for it are.
    for (const auto& [other, number] : legacy_order(stream)) {
      if (stream->is_legacy) run_until(other, number);
    }
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return api_call([&] {
    const cudaError_t refused =
        spoil_captures([](const CUstream_st&) { return true; }, cudaErrorStreamCaptureUnsupported);
    if (refused == cudaSuccess) run_all();
    return refused;
  });
}

// Each question lets the stream do one thing, so that a host that asks until it is ready comes to an end.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return api_call([&] {
    const Stream stream = find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t refused = refuse_wait(*stream);
    if (refused != cudaSuccess) return refused;
    if (stream->entries.empty()) return cudaSuccess;
    run_until(stream, stream->num_done + 1);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return api_call([&] {
    const Stream stream = find_stream(handle);
    if (stream == nullptr || event == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) return refuse_wait(*stream);
    if (event->stream == nullptr || event->stream == stream) return cudaSuccess;
    append(stream, {});
    stream->entries.back().after.emplace_back(event->stream, event->number);
    return cudaSuccess;
  });
}

// --- events ----------------------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return api_call([&] {
    *event = new CUevent_st;
    (*event)->has_timing = (flags & cudaEventDisableTiming) == 0;
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return api_call([&] {
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    // What was recorded still writes its time.
    const cudaError_t status = wait_to_release([&] {
      if (event->stream != nullptr) run_until(event->stream, event->number);
    });
    delete event;
    return status;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  return api_call([&] {
    const Stream stream = find_stream(handle);
    if (stream == nullptr || event == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) return refuse_wait(*stream);
    const cudaError_t status = enqueue(handle, {nullptr, [event] { event->time_ns = now_ns(); }});
    if (status != cudaSuccess) return status;
    event->stream = stream;
    event->number = stream->num_enqueued;
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return api_call([&] {
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t refused = refuse_in_capture();
    if (refused != cudaSuccess) return refused;
    if (event->stream != nullptr) run_until(event->stream, event->number);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return api_call([&] {
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (has_happened(*event)) return cudaSuccess;
    run_until(event->stream, event->stream->num_done + 1);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* elapsed_ms, cudaEvent_t begin, cudaEvent_t end) {
  return api_call([&] {
    for (const cudaEvent_t event : {begin, end}) {
      if (event == nullptr || !event->has_timing || event->stream == nullptr)
        return cudaErrorInvalidResourceHandle;
    }
    if (!has_happened(*begin) || !has_happened(*end)) return cudaErrorNotReady;
    *elapsed_ms = static_cast<float>(static_cast<double>(end->time_ns - begin->time_ns) * 1e-6);
    return cudaSuccess;
  });
}

// --- graphs ----------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return api_call([&] {
    const Stream stream = find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->is_legacy) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture != nullptr) return cudaErrorStreamCaptureUnsupported;
    stream->capture = std::make_unique<CUgraph_st>();
    stream->capture_mode = mode;
    stream->capture_thread = std::this_thread::get_id();
    stream->capture_broken = false;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return api_call([&] {
    *graph = nullptr;
    const Stream stream = find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture == nullptr) return cudaErrorStreamCaptureUnmatched;
    if (stream->capture_mode != cudaStreamCaptureModeRelaxed &&
        stream->capture_thread != std::this_thread::get_id()) {
      return cudaErrorStreamCaptureWrongThread;
    }
    const std::unique_ptr<CUgraph_st> captured = std::move(stream->capture);
    if (stream->capture_broken) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st(*captured);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return api_call([&] {
    *executable = nullptr;
    if (graph == nullptr) return cudaErrorInvalidValue;
    *executable = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  return api_call([&] {
    const Stream stream = find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (executable == nullptr) return cudaErrorInvalidValue;
    if (is_elsewhere(*stream)) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) return refuse_wait(*stream);
    const cudaError_t refused = refuse_legacy(*stream);
    if (refused != cudaSuccess) return refused;
    return append(stream, executable->nodes);
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return api_call([&] {
    if (executable == nullptr) return cudaErrorInvalidValue;
    delete executable;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return api_call([&] {
    if (graph == nullptr) return cudaErrorInvalidValue;
    delete graph;
    return cudaSuccess;
  });
}
