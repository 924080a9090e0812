// Times whole forwards on a GPU: `gpu_encoder_bench [--smoke]`, BERT-base with random weights in bf16. Lines
// of kind
// - device, lengths: what was measured on which card, and each shape's sequence lengths (for
// bench/gpu/torch_peer.py)
// - forward: one shape at one level by one path. endToEndMs is what a caller waits; deviceMs is from the
// upload of the plan
//   to the download of the result, by the device's events.
// - mixed: one batch of all levels, beside the share that its sequences have in batches of their own level
// (idealMs), and
//   beside one forward for each level (splitMs).
// Levels of a shape take turns, and the second of two forwards is timed, so that drift meets all of them
// alike.
// --smoke is for the emulator: a tiny model, a few forwards, and numbers that mean nothing.
#include <cstring>
#include <exception>
#include <memory>
#include <span>

#include "core/status.h"
#include "exec/cuda/device_encoder.h"
#include "measure.h"
#include "model/weights.h"
#include "plan/plan.h"
#include "shapes.h"

namespace elasticlm::bench {
namespace {

using cuda::DeviceEncoder;
using cuda::DevicePath;

struct Setup {
  std::shared_ptr<const ModelWeights> weights;
  std::vector<Structure> structures;
  std::vector<Shape> shapes;
  std::vector<Shape> mixed_shapes;  // sequences are a multiple of the number of levels
  int warm_up = 10;
  int rounds = 60;
};

Setup make_setup(bool smoke) {
  Setup setup;
  const EncoderConfig config = smoke ? tiny_bert() : bert_base();
  setup.weights = random_weights(config, 0, 1);
  setup.structures = level_structures(config);
  setup.shapes = smoke ? tiny_shapes() : bert_shapes();
  if (smoke) {
    setup.mixed_shapes = {{"4x8", std::vector<int64_t>(4, 8)}};
    setup.warm_up = 1;
    setup.rounds = 2;
  } else {
    setup.mixed_shapes = {{"8x32", std::vector<int64_t>(8, 32)},
                          {"8x128", std::vector<int64_t>(8, 128)},
                          {"32x128", std::vector<int64_t>(32, 128)},
                          ragged64()};
  }
  return setup;
}

// Forwards that take turns; each has the times of its rounds.
struct Subject {
  OwnedBatch batch;
  std::vector<double> end_to_end_ms;
  std::vector<double> device_ms;
};

void run_rounds(DeviceEncoder& encoder, const Setup& setup, std::vector<Subject>& subjects) {
  std::vector<float> out;
  for (int round = -setup.warm_up; round < setup.rounds; ++round) {
    for (Subject& subject : subjects) {
      const Batch batch = subject.batch.view();
      out.resize(static_cast<size_t>(encoder.output_floats(batch, Output::kPooled)));
      encoder.forward(batch, setup.structures, {}, 0, out.data());
      const Clock::time_point begin = Clock::now();
      encoder.forward(batch, setup.structures, {}, 0, out.data());
      if (round < 0) continue;
      subject.end_to_end_ms.push_back(ms_since(begin));
      subject.device_ms.push_back(encoder.device_ms(0));
    }
  }
}

Subject uniform_subject(const Setup& setup, const Shape& shape, size_t level_idx) {
  Subject subject;
  for (const int64_t length : shape.lengths)
    subject.batch.add(setup.weights->config, length, static_cast<int32_t>(level_idx));
  return subject;
}

double flops_of(const Setup& setup, const Subject& subject) {
  const Batch batch = subject.batch.view();
  return plan_flops(setup.weights->config, setup.structures, {batch.cu_seqlens, batch.structure_idx});
}

void time_levels(DeviceEncoder& encoder, const Setup& setup, const Shape& shape, const std::string& variant) {
  std::vector<Subject> subjects;
  for (size_t i = 0; i < setup.structures.size(); ++i) subjects.push_back(uniform_subject(setup, shape, i));
  run_rounds(encoder, setup, subjects);
  const double full_flops = flops_of(setup, subjects[0]);
  for (size_t i = 0; i < subjects.size(); ++i) {
    const double flops = flops_of(setup, subjects[i]);
    const double device_ms = median(subjects[i].device_ms);
    JsonLine("forward")
        .add("shape", shape.name)
        .add("level", kLevels[i])
        .add("variant", variant)
        .add("tokens", static_cast<int64_t>(subjects[i].batch.input_ids.size()))
        .add("computeFraction", flops / full_flops)
        .add("flops", flops)
        .add("endToEndMs", median(subjects[i].end_to_end_ms))
        .add("endToEndP95Ms", quantile(subjects[i].end_to_end_ms, 0.95))
        .add("deviceMs", device_ms)
        .add("tflops", flops / device_ms / 1e9)
        .add("repetitions", static_cast<int64_t>(subjects[i].device_ms.size()))
        .print();
  }
}

// Neighbouring sequences have different levels, as requests that arrive together would.
void time_mixed(DeviceEncoder& encoder, const Setup& setup, const Shape& shape) {
  const size_t num_levels = setup.structures.size();
  std::vector<Subject> subjects(1 + num_levels);  // the mixed batch, then each level's sequences of it
  for (size_t b = 0; b < shape.lengths.size(); ++b) {
    const size_t level_idx = b % num_levels;
    for (Subject* subject : {&subjects[0], &subjects[1 + level_idx]})
      subject->batch.add(setup.weights->config, shape.lengths[b], static_cast<int32_t>(level_idx));
  }
  for (size_t i = 0; i < num_levels; ++i) subjects.push_back(uniform_subject(setup, shape, i));
  run_rounds(encoder, setup, subjects);

  const auto sums = [&](std::vector<double> Subject::*times) {
    double split = 0;
    double ideal = 0;
    for (size_t i = 0; i < num_levels; ++i) {
      const Subject& own = subjects[1 + i];
      const Subject& uniform = subjects[1 + num_levels + i];
      split += median(own.*times);
      ideal += median(uniform.*times) * flops_of(setup, own) / flops_of(setup, uniform);
    }
    return std::pair(split, ideal);
  };
  const auto [split_ms, ideal_ms] = sums(&Subject::device_ms);
  JsonLine("mixed")
      .add("shape", shape.name)
      .add("tokens", static_cast<int64_t>(subjects[0].batch.input_ids.size()))
      .add("deviceMs", median(subjects[0].device_ms))
      .add("idealMs", ideal_ms)
      .add("splitMs", split_ms)
      .add("endToEndMs", median(subjects[0].end_to_end_ms))
      .add("splitEndToEndMs", sums(&Subject::end_to_end_ms).first)
      .print();
}

// Measures what `path` can do, and says so where it cannot run.
void time_path(const Setup& setup, DevicePath path, bool use_graphs) {
  const std::string variant =
      std::string(cuda::device_path_name(path)) + (use_graphs ? "" : "-without-graphs");
  try {
    cuda::DeviceEncoderOptions options;
    options.path = path;
    options.use_graphs = use_graphs;
    options.record_times = true;
    DeviceEncoder encoder(*setup.weights, options);
    for (const Shape& shape : setup.shapes) {
      int64_t tokens = 0;
      for (const int64_t length : shape.lengths) tokens += length;
      if (path == DevicePath::kSmall && tokens > 64) continue;
      time_levels(encoder, setup, shape, variant);
    }
    if (path != DevicePath::kAuto || !use_graphs) return;
    for (const Shape& shape : setup.mixed_shapes) time_mixed(encoder, setup, shape);
    JsonLine("memory")
        .add("weightBytes", encoder.facts().weight_bytes)
        .add("arenaBytes", encoder.arena_bytes())
        .print();
  } catch (const Error& error) {
    JsonLine("failure").add("variant", variant).add("code", error_code_name(error.code())).print();
    std::fprintf(stderr, "%s: %s\n", variant.c_str(), error.what());
  }
}

void run(bool smoke) {
  const Setup setup = make_setup(smoke);
  {
    const DeviceEncoder encoder(*setup.weights, {});
    const cuda::DeviceFacts& facts = encoder.facts();
    JsonLine("device")
        .add("name", facts.name)
        .add("computeCapability", static_cast<int64_t>(facts.compute_capability))
        .add("numSms", static_cast<int64_t>(facts.num_sms))
        .add("emulated", facts.emulated)
        .add("smoke", smoke)
        .print();
  }
  for (const Shape& shape : setup.shapes)
    JsonLine("lengths").add("shape", shape.name).add("lengths", shape.lengths).print();
  time_path(setup, DevicePath::kAuto, true);
  time_path(setup, DevicePath::kAuto, false);
  for (const DevicePath path : {DevicePath::kMma, DevicePath::kWgmma, DevicePath::kSmall})
    time_path(setup, path, true);
}

}  // namespace
}  // namespace elasticlm::bench

int main(int argc, char** argv) {
  try {
    elasticlm::bench::run(argc > 1 && std::strcmp(argv[1], "--smoke") == 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
