// Times forward and backward of training, MiniLM's sizes with random weights:
//
//   train_bench [ISA] [PRECISION] [THREADS] [TOKENS]
//
// An empty or missing ISA is the best one; an empty PRECISION (f32, bf16), THREADS (1, 2) or TOKENS (2048,
// 4096) all of them. One JSON object per line. "level": forward and backward of one SubLM, and GFLOP/s by
// plan_flops, a backward counted as two forwards; kernelGflops are those of inference over the same batch in
// the same precision, shareOfKernels what of them the two together reach. "traverse": six SubLMs one after
// the other; "mixed": the same six in one pass. All take turns, so that noise meets all of them; medians.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exec/encoder.h"
#include "levels.h"
#include "test/encoder_fixture.h"
#include "test/reference_gradients.h"
#include "train/encoder_pass.h"

namespace elasticlm::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLevels[] = {1.0, 0.5, 0.4, 0.3, 0.2, 0.1};
constexpr size_t kNumLevels = std::size(kLevels);

EncoderConfig mini_lm() {
  EncoderConfig config = test::mini_lm_config();
  config.vocab_size = 30522;
  return config;
}

// Sequences of 64 to 128 tokens.
test::OwnedBatch make_batch(const EncoderConfig& config, int64_t num_tokens) {
  test::OwnedBatch batch;
  for (int64_t i = 0; i < num_tokens; ++i)
    batch.input_ids.push_back(static_cast<int32_t>(i * 7919 % config.vocab_size));
  batch.token_type_ids.resize(batch.input_ids.size());
  for (int64_t i = 0, end = 0; end < num_tokens; ++i) {
    end = std::min(num_tokens, end + 64 + i * 37 % 65);
    batch.cu_seqlens.push_back(static_cast<int32_t>(end));
  }
  batch.structure_idx.resize(batch.cu_seqlens.size() - 1);
  return batch;
}

// Processor time of all threads of this process.
double cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Milliseconds {
  double wall = 0;
  double cpu = 0;

  Milliseconds operator+(const Milliseconds& other) const { return {wall + other.wall, cpu + other.cpu}; }
};

// One thing that is timed.
struct Subject {
  std::function<void(const TrainThreads&)> run;
  std::vector<double> wall = {};
  std::vector<double> cpu = {};

  Milliseconds time() const { return {median(wall), median(cpu)}; }
};

void measure(ThreadPool& pool, std::vector<Subject>& subjects) {
  constexpr double kBudgetMs = 20000;
  const Clock::time_point begin = Clock::now();
  const auto ms_since = [](Clock::time_point from) {
    return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
  };
  for (int round = 0; round < 9 && (round < 4 || ms_since(begin) < kBudgetMs); ++round) {
    for (Subject& subject : subjects) {
      test::run_job(pool, [&](const TrainThreads& threads) {
        const Clock::time_point start = Clock::now();
        const double start_cpu = cpu_ms();
        subject.run(threads);
        if (round == 0) return;  // it grows the arenas
        subject.wall.push_back(ms_since(start));
        subject.cpu.push_back(cpu_ms() - start_cpu);
      });
    }
  }
}

struct Setting {
  Isa isa;
  Precision precision;
  int num_threads;
  int64_t num_tokens;
};

void run_setting(const Setting& setting) {
  const EncoderConfig config = mini_lm();
  const auto layout = std::make_shared<ParameterLayout>(config, HeadShapes{});
  ParameterSet parameters(layout);
  test::fill_randomly(1, parameters);
  ParameterSet gradients(layout);
  TrainWeights weights(parameters, setting.precision, setting.isa);
  EncoderPass pass(weights);
  EncoderPass mixed(weights);
  Encoder encoder(random_weights(config, 0, 1, setting.precision), setting.isa, setting.num_threads);
  const std::vector<Structure> structures = even_structures(config, kLevels);
  const test::OwnedBatch owned = make_batch(config, setting.num_tokens);
  const TokenBatch batch{owned.input_ids, owned.token_type_ids, owned.cu_seqlens};
  const auto hidden_floats = static_cast<size_t>(setting.num_tokens * config.hidden_size);
  const std::vector<float> d_hidden(hidden_floats * kNumLevels, 1e-3f);
  std::vector<float> d_scratch = d_hidden;
  std::vector<float> hidden(hidden_floats);
  std::vector<int32_t> structure_idx[kNumLevels];

  std::vector<Subject> subjects;
  for (size_t i = 0; i < kNumLevels; ++i) {
    structure_idx[i].assign(owned.structure_idx.size(), static_cast<int32_t>(i));
    subjects.push_back(
        {[&, i](const TrainThreads& threads) {
           const Batch inference{owned.input_ids, owned.token_type_ids, owned.cu_seqlens, structure_idx[i]};
           encoder.forward(inference, structures, {.output = Output::kHidden}, threads.pool,
                           threads.worker_idx, hidden.data());
         },
         {}});
    subjects.push_back({[&, i](const TrainThreads& threads) {
      pass.forward(batch, std::span(structures).subspan(i, 1), threads);
    }});
    subjects.push_back(
        {[&](const TrainThreads& threads) { pass.backward(d_scratch.data(), gradients, nullptr, threads); },
         {}});
  }
  subjects.push_back({[&](const TrainThreads& threads) { mixed.forward(batch, structures, threads); }});
  subjects.push_back(
      {[&](const TrainThreads& threads) { mixed.backward(d_scratch.data(), gradients, nullptr, threads); },
       {}});
  subjects.push_back({[&](const TrainThreads& threads) { weights.refresh(threads); }});

  ThreadPool pool(setting.num_threads);
  test::run_job(pool, [&](const TrainThreads& threads) { weights.refresh(threads); });
  measure(pool, subjects);

  char names[160];
  std::snprintf(names, sizeof(names), "\"precision\":\"%s\",\"threads\":%d,\"tokens\":%lld,\"isa\":\"%s\"",
                precision_name(setting.precision), setting.num_threads,
                static_cast<long long>(setting.num_tokens),
                isa_name(effective_isa(setting.isa, setting.precision)));
  Milliseconds traverse;
  for (size_t i = 0; i < kNumLevels; ++i) {
    const double gflop = plan_flops(config, structures, {owned.cu_seqlens, structure_idx[i]}) / 1e6;
    const Milliseconds kernel = subjects[3 * i].time();
    const Milliseconds forward = subjects[3 * i + 1].time();
    const Milliseconds backward = subjects[3 * i + 2].time();
    traverse = traverse + forward + backward;
    std::printf("{\"what\":\"level\",%s,\"level\":%g,\"forwardMs\":%.2f,\"backwardMs\":%.2f,", names,
                kLevels[i], forward.wall, backward.wall);
    std::printf("\"shareOfKernels\":%.3f,\"cpuForwardGflops\":%.1f,\"cpuBackwardGflops\":%.1f,",
                3 * kernel.wall / (forward.wall + backward.wall), gflop / forward.cpu,
                2 * gflop / backward.cpu);
    std::printf("\"cpuKernelGflops\":%.1f,\"cpuShareOfKernels\":%.3f}\n", gflop / kernel.cpu,
                3 * kernel.cpu / (forward.cpu + backward.cpu));
  }
  const Milliseconds mixed_forward = subjects[3 * kNumLevels].time();
  const Milliseconds mixed_backward = subjects[3 * kNumLevels + 1].time();
  const Milliseconds mixed_both = mixed_forward + mixed_backward;
  std::printf(
      "{\"what\":\"traverse\",%s,\"ms\":%.2f,\"cpuMs\":%.2f,\"refreshMs\":%.2f,\"arenaBytes\":%lld}\n", names,
      traverse.wall, traverse.cpu, subjects[3 * kNumLevels + 2].time().wall,
      static_cast<long long>(pass.arena_bytes()));
  std::printf("{\"what\":\"mixed\",%s,\"forwardMs\":%.2f,\"backwardMs\":%.2f,\"ms\":%.2f,\"cpuMs\":%.2f,",
              names, mixed_forward.wall, mixed_backward.wall, mixed_both.wall, mixed_both.cpu);
  std::printf("\"overTraverse\":%.3f,\"cpuOverTraverse\":%.3f,\"arenaBytes\":%lld}\n",
              mixed_both.wall / traverse.wall, mixed_both.cpu / traverse.cpu,
              static_cast<long long>(mixed.arena_bytes()));
  std::fflush(stdout);
}

}  // namespace
}  // namespace elasticlm::bench

int main(int argc, char** argv) {
  using namespace elasticlm;
  const auto argument = [&](int i) { return std::string(argc > i ? argv[i] : ""); };
  try {
    const Isa isa = choose_isa(argument(1));
    for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
      if (!argument(2).empty() && argument(2) != precision_name(precision)) continue;
      for (const int num_threads : {1, 2}) {
        if (!argument(3).empty() && argument(3) != std::to_string(num_threads)) continue;
        std::vector<int64_t> sizes = {2048, 4096};
        if (!argument(4).empty()) sizes = {std::stoll(argument(4))};
        for (const int64_t num_tokens : sizes) bench::run_setting({isa, precision, num_threads, num_tokens});
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
