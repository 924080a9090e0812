// Plain reading from front to back, as fast as memory allows: what a search over stored vectors is compared
// with.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elasticlm::bench {

inline constexpr size_t kLineBytes = 64;
using Line = uint64_t __attribute__((vector_size(kLineBytes)));

#if defined(__x86_64__)
#define ELASTICLM_WIDEST [[gnu::target_clones("default", "avx2", "avx512f")]]
#else
#define ELASTICLM_WIDEST
#endif

// Sums of their own, so that no addition waits for another.
inline constexpr size_t kReadSums = 8;

// Something that depends on every sum. What is added does not matter.
inline uint64_t total_of(const Line (&sum)[kReadSums]) {
  uint64_t total = 0;
  for (const Line& line : sum) total += line[0];
  return total;
}

ELASTICLM_WIDEST static uint64_t read_in_order(const Line* lines, size_t count) {
  Line sum[kReadSums] = {};
  for (size_t i = 0; i + kReadSums <= count; i += kReadSums) {
    for (size_t j = 0; j < kReadSums; ++j) sum[j] += lines[i + j];
  }
  return total_of(sum);
}

// The same with each line fetched 12 KB before its turn: far enough for memory's latency, and a prefetch past
// the end does nothing.
ELASTICLM_WIDEST static uint64_t read_prefetched(const Line* lines, size_t count) {
  constexpr size_t kAhead = 12 * 1024 / kLineBytes;
  Line sum[kReadSums] = {};
  for (size_t i = 0; i + kReadSums <= count; i += kReadSums) {
    for (size_t j = 0; j < kReadSums; ++j) {
      __builtin_prefetch(lines + i + j + kAhead, 0, 2);
      sum[j] += lines[i + j];
    }
  }
  return total_of(sum);
}

// Four places at once, two lines of each.
ELASTICLM_WIDEST static uint64_t read_four_streams(const Line* lines, size_t count) {
  const size_t quarter = count / 4;
  Line sum[kReadSums] = {};
  for (size_t i = 0; i + 2 <= quarter; i += 2) {
    for (size_t j = 0; j < kReadSums; ++j) sum[j] += lines[j / 2 * quarter + i + j % 2];
  }
  return total_of(sum);
}

struct ReadLoop {
  const char* name;
  uint64_t (*read)(const Line* lines, size_t count);
};
inline constexpr ReadLoop kReadLoops[] = {
    {"inOrder", read_in_order}, {"prefetched", read_prefetched}, {"fourStreams", read_four_streams}};

}  // namespace elasticlm::bench
