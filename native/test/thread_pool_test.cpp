#include "core/thread_pool.h"

#include <time.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "test/check.h"

namespace elasticlm {
namespace {

using namespace std::chrono_literals;

// Submits `job` and waits for its end.
void run_job(ThreadPool& pool, const std::function<void(int)>& job) {
  // Shared: set_value may still be returning when the wait has ended.
  const auto ended = std::make_shared<std::promise<void>>();
  pool.submit([&job, ended](int worker_idx) {
    job(worker_idx);
    ended->set_value();
  });
  ended->get_future().wait();
}

double process_cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

TEST_CASE("parallel_for: every chunk exactly once, one chunk per worker at a time") {
  for (const int num_threads : {1, 2, 3, 5}) {
    ThreadPool pool(num_threads);
    CHECK(pool.num_threads() == num_threads, "num_threads");
    for (const int64_t num_chunks : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(num_chunks));
      std::vector<std::atomic<int>> busy(static_cast<size_t>(num_threads));
      std::atomic<int> overlaps{0};
      run_job(pool, [&](int worker_idx) {
        pool.parallel_for(num_chunks, worker_idx, [&](int64_t chunk, int worker) {
          if (busy.at(static_cast<size_t>(worker)).fetch_add(1) != 0) ++overlaps;
          ++runs.at(static_cast<size_t>(chunk));
          busy.at(static_cast<size_t>(worker)).fetch_sub(1);
        });
      });
      for (size_t i = 0; i < runs.size(); ++i) CHECK(runs[i] == 1, "chunk " + std::to_string(i));
      CHECK(overlaps == 0, "a worker ran two chunks at once");
    }
  }
}

TEST_CASE("parallel_for: stale claims of an earlier loop never reach a later one") {
  ThreadPool pool(4);
  run_job(pool, [&](int worker_idx) {
    for (int64_t round = 0; round < 20000; ++round) {
      std::atomic<int64_t> sum{0};
      const int64_t num_chunks = 2 + round % 3;
      pool.parallel_for(num_chunks, worker_idx, [&](int64_t chunk, int) { sum += chunk + 1; });
      CHECK(sum == num_chunks * (num_chunks + 1) / 2, "round " + std::to_string(round));
    }
  });
}

TEST_CASE("parallel_for: results written by helpers are visible to the caller") {
  ThreadPool pool(3);
  run_job(pool, [&](int worker_idx) {
    std::vector<int64_t> values(64);
    for (int64_t round = 0; round < 2000; ++round) {
      pool.parallel_for(64, worker_idx,
                        [&](int64_t chunk, int) { values[static_cast<size_t>(chunk)] = chunk + round; });
      const int64_t sum = std::accumulate(values.begin(), values.end(), int64_t{0});
      CHECK(sum == 64 * round + 63 * 32, "round " + std::to_string(round));
    }
  });
}

TEST_CASE("parallel_for: an exception reaches the caller, the pool goes on") {
  ThreadPool pool(3);
  for (int round = 0; round < 500; ++round) {
    std::atomic<int> begun{0};
    std::atomic<int> ended{0};
    bool caught = false;
    run_job(pool, [&](int worker_idx) {
      try {
        pool.parallel_for(100, worker_idx, [&](int64_t chunk, int) {
          ++begun;
          if (chunk % 7 == 3) {
            ++ended;
            throw std::runtime_error("chunk");
          }
          ++ended;
        });
      } catch (const std::runtime_error& error) {
        caught = std::string(error.what()) == "chunk" && begun == ended;
      }
      int64_t sum = 0;
      pool.parallel_for(1, worker_idx, [&](int64_t, int) { sum = 1; });
      caught = caught && sum == 1;
    });
    CHECK(caught, "round " + std::to_string(round));
  }
}

TEST_CASE("parallel_for: inside a chunk it runs in place") {
  ThreadPool pool(2);
  std::atomic<int> count{0};
  run_job(pool, [&](int worker_idx) {
    pool.parallel_for(8, worker_idx, [&](int64_t, int outer) {
      pool.parallel_for(8, outer, [&](int64_t, int) { ++count; });
    });
  });
  CHECK(count == 64, "count " + std::to_string(count));
}

TEST_CASE("parallel_for: the caller does not wait for a busy worker that has claimed nothing") {
  std::promise<void> release;
  std::promise<void> blocked;
  ThreadPool pool(2);  // after what its jobs use, so that it ends first
  pool.submit([&](int) {
    blocked.set_value();
    release.get_future().wait();
  });
  blocked.get_future().wait();
  std::atomic<int> count{0};
  run_job(pool, [&](int worker_idx) { pool.parallel_for(50, worker_idx, [&](int64_t, int) { ++count; }); });
  CHECK(count == 50, "the other worker never helped, yet all chunks ran");
  release.set_value();
}

TEST_CASE("parallel_for: parked helpers wake") {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(2ms);  // both park
    std::atomic<int> arrived{0};
    // Each chunk waits for the other, so this ends only when two threads take part.
    run_job(pool, [&](int worker_idx) {
      pool.parallel_for(2, worker_idx, [&](int64_t, int) {
        ++arrived;
        while (arrived < 2) std::this_thread::yield();
      });
    });
  }
}

TEST_CASE("submit: jobs begin in order of arrival") {
  std::vector<int> order;
  std::promise<void> ended;
  ThreadPool pool(1);
  for (int i = 0; i < 100; ++i) {
    pool.submit([&, i](int worker_idx) {
      CHECK(worker_idx == 0, "worker_idx");
      order.push_back(i);
      if (i == 99) ended.set_value();
    });
  }
  ended.get_future().wait();
  for (int i = 0; i < 100; ++i) CHECK(order[static_cast<size_t>(i)] == i, "position " + std::to_string(i));
}

TEST_CASE("submit: a queued job goes before further help") {
  std::atomic<bool> job_ran{false};
  std::atomic<int> chunks_before_job{0};
  std::atomic<bool> submitted{false};
  ThreadPool pool(2);
  run_job(pool, [&](int worker_idx) {
    pool.parallel_for(200, worker_idx, [&](int64_t, int worker) {
      if (!submitted.exchange(true)) pool.submit([&](int) { job_ran = true; });
      if (worker != worker_idx && !job_ran) ++chunks_before_job;
      std::this_thread::sleep_for(100us);
    });
  });
  // The helper may hold two chunks' worth: one it had claimed before the job came, and the very first one.
  CHECK(job_ran, "the helper took the job");
  CHECK(chunks_before_job <= 2,
        "helped with " + std::to_string(chunks_before_job) + " chunks before the job");
}

TEST_CASE("several jobs with loops at once") {
  constexpr int kJobs = 200;
  std::atomic<int> ended{0};
  std::atomic<int64_t> total{0};
  std::promise<void> all;
  ThreadPool pool(3);
  for (int i = 0; i < kJobs; ++i) {
    pool.submit([&](int worker_idx) {
      for (int round = 0; round < 5; ++round) {
        pool.parallel_for(9, worker_idx, [&](int64_t chunk, int) { total += chunk; });
      }
      if (++ended == kJobs) all.set_value();
    });
  }
  all.get_future().wait();
  CHECK(total == kJobs * 5 * 36, "total " + std::to_string(total));
}

TEST_CASE("destructor runs what was submitted, jobs that submit included") {
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> count{0};
    {
      ThreadPool pool(1 + round % 3);
      for (int i = 0; i < 10; ++i) {
        pool.submit([&](int worker_idx) {
          pool.parallel_for(3, worker_idx, [&](int64_t, int) { ++count; });
          pool.submit([&](int) { ++count; });
        });
      }
    }
    CHECK(count == 40, "round " + std::to_string(round) + ": " + std::to_string(count));
  }
}

TEST_CASE("an idle pool uses no processor time") {
  ThreadPool pool(4);
  run_job(pool, [&](int worker_idx) { pool.parallel_for(16, worker_idx, [](int64_t, int) {}); });
  std::this_thread::sleep_for(20ms);  // all park
  const double before = process_cpu_ms();
  std::this_thread::sleep_for(300ms);
  const double used = process_cpu_ms() - before;
  CHECK(used < 15.0, "300 ms idle took " + std::to_string(used) + " ms of processor time");
}

}  // namespace
}  // namespace elasticlm
