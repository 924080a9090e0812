// Searches for one query over many vectors beside plain reading of the same memory, on the same threads: one
// JSON object for each number of threads.
//
//   search_bench [vectors] [rounds]
//
// Every round reads the f32 vectors with each loop of read_loops.h, then searches the f32 and the i8 index; a
// ratio is taken round by round, against the best loop of its round, and its median is printed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <random>
#include <span>
#include <vector>

#include "core/cpu_features.h"
#include "search/vector_index.h"

#include "read_loops.h"

namespace elasticlm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kDims = 384;
constexpr int64_t kTopK = 100;
constexpr size_t kChunkLines = (size_t{4} << 20) / bench::kLineBytes;  // read by one thread at a time

std::atomic<uint64_t> sink;

double seconds_of(ThreadPool& pool, const std::function<void(int)>& job) {
  std::promise<double> seconds;
  pool.submit([&](int worker_idx) {
    const Clock::time_point start = Clock::now();
    job(worker_idx);
    seconds.set_value(std::chrono::duration<double>(Clock::now() - start).count());
  });
  return seconds.get_future().get();
}

double seconds_to_read(const VectorIndex& index, const bench::ReadLoop& loop, ThreadPool& pool) {
  const auto* const lines = reinterpret_cast<const bench::Line*>(index.vectors());
  const size_t count = static_cast<size_t>(index.bytes()) / bench::kLineBytes;
  const auto num_chunks = static_cast<int64_t>((count + kChunkLines - 1) / kChunkLines);
  return seconds_of(pool, [&](int worker_idx) {
    pool.parallel_for(num_chunks, worker_idx, [&](int64_t chunk, int) {
      const size_t first = static_cast<size_t>(chunk) * kChunkLines;
      sink += loop.read(lines + first, std::min(kChunkLines, count - first));
    });
  });
}

double seconds_to_search(const VectorIndex& index, std::span<const float> query, ThreadPool& pool) {
  std::vector<int32_t> documents(static_cast<size_t>(std::min(kTopK, index.count())));
  std::vector<float> scores(documents.size());
  const KernelTable& kernels = kernel_table(choose_isa(""));
  const SearchArgs args{
      .queries = query, .top_k = kTopK, .documents = documents.data(), .scores = scores.data()};
  return seconds_of(pool, [&](int worker_idx) { search(index, args, kernels, pool, worker_idx); });
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Of every round, by subject.
struct Samples {
  std::vector<double> best_read;  // GB/s
  std::vector<double> f32_ms;
  std::vector<double> i8_ms;
  std::vector<double> f32_share;  // of the round's best reading
  std::vector<double> i8_share;
  std::vector<double> i8_speedup;  // over f32
};

void print(const VectorIndex& f32, int num_threads, int rounds, const Samples& samples) {
  std::printf(
      "{\"op\":\"search\",\"vectors\":%lld,\"dims\":%lld,\"threads\":%d,\"isa\":\"%s\",\"rounds\":%d,"
      "\"readGBps\":%.1f,\"f32Ms\":%.1f,\"i8Ms\":%.1f,\"f32OfRead\":%.3f,\"i8OfRead\":%.3f,\"i8OverF32\":%."
      "2f}\n",
      static_cast<long long>(f32.count()), static_cast<long long>(f32.dims()), num_threads,
      isa_name(choose_isa("")), rounds, median(samples.best_read), median(samples.f32_ms),
      median(samples.i8_ms), median(samples.f32_share), median(samples.i8_share), median(samples.i8_speedup));
  std::fflush(stdout);
}

void measure(const VectorIndex& f32, const VectorIndex& i8, int num_threads, int rounds) {
  ThreadPool pool(num_threads);
  std::vector<float> query(kDims);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& value : query) value = normal(random);

  Samples samples;
  for (int round = 0; round < rounds; ++round) {
    double best = 0;
    for (const bench::ReadLoop& loop : bench::kReadLoops) {
      const double rate = static_cast<double>(f32.bytes()) / seconds_to_read(f32, loop, pool) * 1e-9;
      best = std::max(best, rate);
    }
    const double f32_seconds = seconds_to_search(f32, query, pool);
    const double i8_seconds = seconds_to_search(i8, query, pool);
    samples.best_read.push_back(best);
    samples.f32_ms.push_back(f32_seconds * 1e3);
    samples.i8_ms.push_back(i8_seconds * 1e3);
    samples.f32_share.push_back(static_cast<double>(f32.bytes()) / f32_seconds * 1e-9 / best);
    samples.i8_share.push_back(static_cast<double>(i8.bytes()) / i8_seconds * 1e-9 / best);
    samples.i8_speedup.push_back(f32_seconds / i8_seconds);
  }
  print(f32, num_threads, rounds, samples);
}

}  // namespace
}  // namespace elasticlm

int main(int argc, char** argv) {
  using namespace elasticlm;
  const int64_t count = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  if (count < 1 || rounds < 1) return 2;
  std::vector<float> vectors(static_cast<size_t>(count * kDims));
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);  // the values do not decide the time
  for (float& value : vectors) value = uniform(random);
  const VectorIndex f32(vectors, kDims);
  const VectorIndex i8(vectors, kDims, Precision::kI8);
  std::vector<float>().swap(vectors);
  for (const int num_threads : {1, 2}) measure(f32, i8, num_threads, rounds);
  return 0;
}
