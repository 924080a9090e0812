// How long a kernel takes on one thread.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace elasticlm::bench {

// Processor time of this thread: what the kernel costs, however busy the machine is.
inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Times {
  double median = 0.0;
  double p95 = 0.0;
};

// Runs `work` for about 0.2 s in at least 9 repetitions, each long beside reading the clock.
template <typename Work>
Times measure(const Work& work) {
  constexpr double kMinSeconds = 100e-6;
  int64_t times_each = 1;
  for (;; times_each *= 2) {
    const double start = thread_seconds();
    for (int64_t i = 0; i < times_each; ++i) work();
    if (thread_seconds() - start >= kMinSeconds) break;
  }
  const double begin = thread_seconds();
  std::vector<double> times;
  while (times.size() < 9 || thread_seconds() - begin < 0.2) {
    const double start = thread_seconds();
    for (int64_t i = 0; i < times_each; ++i) work();
    times.push_back((thread_seconds() - start) / static_cast<double>(times_each));
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 95 / 100]};
}

}  // namespace elasticlm::bench
