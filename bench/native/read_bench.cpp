// How fast memory can be read at most: `read_bench THREADS MEGABYTES` reads that much from front to back,
// each thread its part, and prints one JSON line with the best GB/s of several passes. Needs no other file.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPasses = 5;
constexpr size_t kLineBytes = 64;

using Vector = uint64_t __attribute__((vector_size(kLineBytes)));

// Eight sums, so that no addition waits for another. What is added does not matter.
#if defined(__x86_64__)
[[gnu::target_clones("default", "avx2", "avx512f")]]
#endif
uint64_t
read_lines(const Vector* lines, size_t count) {
  Vector sum[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
    for (size_t j = 0; j < 8; ++j) sum[j] += lines[i + j];
  }
  uint64_t total = 0;
  for (const Vector& vector : sum) total += vector[0];
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t num_threads = argc > 1 ? static_cast<size_t>(std::atoi(argv[1])) : 1;
  const size_t bytes = (argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 1024) << 20;
  const size_t lines_each = bytes / kLineBytes / num_threads;
  auto* const memory = static_cast<Vector*>(std::aligned_alloc(4096, bytes));
  if (memory == nullptr) return 1;
  std::memset(memory, 1, bytes);
  double best = 1e9;
  std::atomic<uint64_t> sink{0};
  for (int pass = 0; pass < kPasses; ++pass) {
    const Clock::time_point begin = Clock::now();
    std::vector<std::thread> threads;
    for (size_t i = 0; i < num_threads; ++i) {
      threads.emplace_back([&, i] { sink += read_lines(memory + i * lines_each, lines_each); });
    }
    for (std::thread& thread : threads) thread.join();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::free(memory);
  const auto read = static_cast<double>(lines_each * num_threads * kLineBytes);
  std::printf("{\"threads\":%zu,\"GBps\":%.2f,\"sum\":%llu}\n", num_threads, read / best * 1e-9,
              static_cast<unsigned long long>(sink.load() & 1));
  return 0;
}
