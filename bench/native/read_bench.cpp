// How fast memory can be read at most: `read_bench THREADS MEGABYTES` reads that much with each loop of
// read_loops.h, each thread its part, and prints one JSON line with the best GB/s of several passes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "read_loops.h"

namespace elasticlm::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPasses = 5;

std::atomic<uint64_t> sink;

double seconds_to_read(const ReadLoop& loop, const Line* lines, size_t num_threads, size_t lines_each) {
  const Clock::time_point begin = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < num_threads; ++i) {
    threads.emplace_back([&, i] { sink += loop.read(lines + i * lines_each, lines_each); });
  }
  for (std::thread& thread : threads) thread.join();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace
}  // namespace elasticlm::bench

int main(int argc, char** argv) {
  using namespace elasticlm::bench;
  const size_t num_threads = argc > 1 ? static_cast<size_t>(std::atoi(argv[1])) : 1;
  const size_t bytes = (argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 1024) << 20;
  if (num_threads == 0 || bytes == 0) return 2;
  const size_t lines_each = bytes / kLineBytes / num_threads;
  auto* const memory = static_cast<Line*>(std::aligned_alloc(4096, bytes));
  if (memory == nullptr) return 1;
  std::memset(memory, 1, bytes);
  double best_seconds = 1e9;
  const char* best_loop = "";
  for (int pass = 0; pass < kPasses; ++pass) {
    for (const ReadLoop& loop : kReadLoops) {
      const double seconds = seconds_to_read(loop, memory, num_threads, lines_each);
      if (seconds >= best_seconds) continue;
      best_seconds = seconds;
      best_loop = loop.name;
    }
  }
  std::free(memory);
  const auto read = static_cast<double>(lines_each * num_threads * kLineBytes);
  std::printf("{\"threads\":%zu,\"GBps\":%.2f,\"loop\":\"%s\"}\n", num_threads, read / best_seconds * 1e-9,
              best_loop);
  return 0;
}
