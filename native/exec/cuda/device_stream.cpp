#include "exec/cuda/device_stream.h"

#include <algorithm>
#include <cstring>

#include "core/status.h"
#include "exec/outputs.h"

namespace elasticlm::cuda {
namespace {

// From so many rows on the kernels of a forward take longer than their launches (about 2 us each), which then
// cost nothing: a graph would gain nothing and its buckets would be many.
constexpr int64_t kGraphRows = 8192;
// A graph of twelve layers is about 90 nodes, so that a full set of graphs takes some tens of megabytes. 14
// buckets of rows, each with the three or four buckets of sequences that one service sees, are within it.
constexpr size_t kMaxGraphs = 64;

void check_not_aborted(const ForwardOptions& options) {
  if (options.aborted == nullptr || !options.aborted->load(std::memory_order_relaxed)) return;
  fail(ErrorCode::kCallAborted, {.expected = "a call that runs to its end",
                                 .subject = "the forward",
                                 .received = "an abort signal",
                                 .remedy = ""});
}

int64_t rows_of(const PlanBounds& bounds, Output output) {
  return output == Output::kHidden ? bounds.num_rows : bounds.num_sequences;
}

}  // namespace

DeviceStream::DeviceStream(const DeviceWeights& weights, const Device& device,
                           const DeviceEncoderOptions& options)
    : weights_(weights),
      device_(device),
      path_choice_{options.path, options.precision, weights.config().hidden_size},
      use_graphs_(options.use_graphs),
      programmatic_(options.programmatic_launches && device.has_hopper_features()),
      stream_(make_stream()),
      done_(make_blocking_event()),
      begin_(options.record_times ? make_event() : nullptr),
      end_(options.record_times ? make_event() : nullptr),
      planner_(weights.config(), weights.outline.num_labels),
      plan_buffer_(weights.config()),
      activations_(weights, device) {}

void DeviceStream::forward(const Batch& batch, std::span<const Structure> structures,
                           const ForwardOptions& options, float* out) {
  check_not_aborted(options);
  const ForwardShape shape = shape_of(batch, options);
  const int64_t width = output_width(weights_.outline, options.output);
  const DevicePlan& plan = planner_.plan(structures, {batch.cu_seqlens, batch.structure_idx});
  run_or_drain(stream_.get(), [&] {
    make_room(plan, shape, rows_of(shape.bounds(), options.output) * width);
    record(begin_);
    plan_buffer_.upload(plan, shape.bounds(), batch, stream_.get());
    check_not_aborted(options);
    enqueue(shape);
    const PlanBounds actual = {plan.header.num_rows, plan.header.num_sequences};
    receive(rows_of(actual, options.output) * width, out);
  });
}

void DeviceStream::record(const Event& event) {
  if (event == nullptr) return;
  check(cudaEventRecord(event.get(), stream_.get()), "to record an event");
}

double DeviceStream::device_ms() const {
  float ms = 0.0f;
  check(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "to tell the time between two events");
  return ms;
}

ForwardShape DeviceStream::shape_of(const Batch& batch, const ForwardOptions& options) const {
  ForwardShape shape = bucket_of(std::ssize(batch.input_ids), std::ssize(batch.structure_idx));
  shape.path = choose_path(path_choice_, device_, shape.num_rows);
  shape.output = options.output;
  shape.programmatic = programmatic_;
  if (options.output == Output::kPooled) {
    shape.pooling = options.pooling;
    shape.normalize = options.normalize;
  }
  return shape;
}

void DeviceStream::make_room(const DevicePlan& plan, const ForwardShape& shape, int64_t num_results) {
  const PlanBounds bounds = shape.bounds();
  const auto bytes = num_results * static_cast<int64_t>(sizeof(float));
  if (received_.bytes() < bytes) received_.allocate(bytes);
  const bool plan_fits = plan_buffer_.fits(plan, bounds);
  const bool activations_fit = activations_.fits(bounds, num_results);
  if (!plan_fits || !activations_fit) captured_.clear();  // they name addresses that are void now
  if (!plan_fits) plan_buffer_.grow(plan, bounds);
  if (!activations_fit) activations_.grow(bounds, num_results);
  if (shape.path == DevicePath::kSmall && !small_layers_.hold(plan_buffer_.addresses(bounds))) {
    small_layers_.write(weights_, plan_buffer_.addresses(bounds), stream_.get());
  }
  device_bytes_.store(
      plan_buffer_.device_bytes() + small_layers_.device_bytes() + activations_.device_bytes(),
      std::memory_order_relaxed);
}

void DeviceStream::enqueue(const ForwardShape& shape) {
  const auto launch_all = [&] {
    const ForwardMemory memory{weights_, activations_.matrices(), plan_buffer_.addresses(shape.bounds()),
                               small_layers_.layers()};
    enqueue_forward(shape, memory, device_, stream_.get());
  };
  if (!use_graphs_ || shape.num_rows > kGraphRows) return launch_all();
  CapturedShape& seen = captured(shape);
  // The first forward of a shape runs as it is: a shape seen once is not worth a capture, and kernels that
  // are loaded at their first launch are not loaded in the midst of one.
  const bool is_first = seen.last_use == 0;
  seen.last_use = ++num_forwards_;
  if (is_first) return launch_all();
  if (seen.graph == nullptr) seen.graph = capture(stream_.get(), launch_all);
  check(cudaGraphLaunch(seen.graph.get(), stream_.get()), "to start a graph");
}

DeviceStream::CapturedShape& DeviceStream::captured(const ForwardShape& shape) {
  const auto found = captured_.find(shape);
  if (found != captured_.end()) return found->second;
  if (captured_.size() >= kMaxGraphs) {
    captured_.erase(std::min_element(captured_.begin(), captured_.end(), [](const auto& a, const auto& b) {
      return a.second.last_use < b.second.last_use;
    }));
  }
  return captured_[shape];
}

void DeviceStream::receive(int64_t num_results, float* out) {
  const auto bytes = static_cast<size_t>(num_results) * sizeof(float);
  check(cudaMemcpyAsync(received_.data(), activations_.matrices().results, bytes, cudaMemcpyDeviceToHost,
                        stream_.get()),
        "to send results");
  record(end_);
  finish(stream_.get(), done_);
  std::memcpy(out, received_.data(), bytes);
}

}  // namespace elasticlm::cuda
