#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/aligned_buffer.h"

namespace elasticlm {
namespace {

using Clock = std::chrono::steady_clock;

// Longer than the serial code between two split steps of one forward (a few microseconds), so that helpers
// are still awake for the next step; shorter than waking a parked thread (115 us, 2-core Zen 5 virtual
// machine, 2026-11-22), so that spinning never costs more than the parking it avoids.
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr int kPausesPerClockRead = 32;

inline void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#else
  std::this_thread::yield();
#endif
}

// Spins until `done()` holds or kSpinTime has passed; returns done().
template <typename Done>
bool spin_until(const Done& done) {
  if (done()) return true;
  const auto end = Clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      pause_processor();
      if (done()) return true;
    }
  } while (Clock::now() < end);
  return done();
}

// One parallel_for in progress; each worker has one, because loops do not nest. `claims` holds the loop's
// number (high half) and its unclaimed chunks (low half), so that a claim made with a stale value fails:
// whoever claimed successfully may read `chunk` and `num_chunks`, which stay until the last claimed chunk has
// ended.
struct alignas(kCacheLineBytes) Loop {
  std::atomic<uint64_t> claims{0};
  const std::function<void(int64_t, int)>* chunk = nullptr;
  uint32_t num_chunks = 0;
  bool open = false;         // touched by the owner only
  std::exception_ptr error;  // written by the thread that set `failed`
  std::atomic<bool> failed{false};
  alignas(kCacheLineBytes) std::atomic<uint32_t> num_ended{0};
  std::atomic<bool> owner_parked{false};
};

constexpr uint64_t kUnclaimedMask = 0xffffffffu;
// Longer loops run in rounds, so that a round's count fits the low half of `claims`.
constexpr int64_t kMaxRoundChunks = int64_t{1} << 31;

}  // namespace

struct ThreadPool::State {
  explicit State(int num_threads) : loops(static_cast<size_t>(std::max(num_threads, 1))) {}

  std::vector<Loop> loops;  // [num_threads]
  std::vector<std::thread> threads;

  std::mutex mutex;
  std::condition_variable work_or_stop;
  std::condition_variable loop_ended;
  std::deque<std::function<void(int)>> jobs;  // guarded by mutex
  bool stopping = false;                      // guarded by mutex
  std::atomic<int> num_jobs{0};               // jobs.size(), readable without the mutex
  std::atomic<int> num_parked{0};

  void worker_main(int worker_idx);
  void park();
  bool should_exit();
  bool run_job(int worker_idx);
  bool help_once(int worker_idx);
  bool claim_and_run(Loop& loop, int worker_idx);
  void run_round(Loop& loop, uint32_t num_chunks, int worker_idx,
                 const std::function<void(int64_t, int)>& chunk);
  void wake_helpers(uint32_t num_wanted);
  void shut_down();
  bool any_work() const;
};

bool ThreadPool::State::any_work() const {
  // Sequentially consistent, like num_parked: either a parking thread sees the new work here or the thread
  // that brought it sees the parked one.
  if (num_jobs.load() > 0) return true;
  return std::any_of(loops.begin(), loops.end(),
                     [](const Loop& loop) { return (loop.claims.load() & kUnclaimedMask) != 0; });
}

void ThreadPool::State::worker_main(int worker_idx) {
  for (;;) {
    if (run_job(worker_idx) || help_once(worker_idx)) continue;
    if (spin_until([this] { return any_work(); })) continue;
    park();
    if (should_exit()) return;
  }
}

void ThreadPool::State::park() {
  std::unique_lock lock(mutex);
  num_parked.fetch_add(1);
  work_or_stop.wait(lock, [this] { return stopping || any_work(); });
  num_parked.fetch_sub(1);
}

bool ThreadPool::State::should_exit() {
  std::lock_guard lock(mutex);
  return stopping && jobs.empty();
}

bool ThreadPool::State::run_job(int worker_idx) {
  if (num_jobs.load(std::memory_order_relaxed) == 0) return false;
  std::function<void(int)> job;
  {
    std::lock_guard lock(mutex);
    if (jobs.empty()) return false;
    job = std::move(jobs.front());
    jobs.pop_front();
    num_jobs.fetch_sub(1);
  }
  job(worker_idx);
  return true;
}

bool ThreadPool::State::help_once(int worker_idx) {
  const size_t count = loops.size();
  // From the next worker round, so that several loops get different helpers.
  for (size_t i = 1; i < count; ++i) {
    if (claim_and_run(loops[(static_cast<size_t>(worker_idx) + i) % count], worker_idx)) return true;
  }
  return false;
}

bool ThreadPool::State::claim_and_run(Loop& loop, int worker_idx) {
  uint64_t claims = loop.claims.load(std::memory_order_acquire);
  do {
    if ((claims & kUnclaimedMask) == 0) return false;
  } while (!loop.claims.compare_exchange_weak(claims, claims - 1, std::memory_order_acq_rel,
                                              std::memory_order_acquire));

  uint32_t ended = 1;
  try {
    (*loop.chunk)(loop.num_chunks - static_cast<uint32_t>(claims & kUnclaimedMask), worker_idx);
  } catch (...) {
    if (!loop.failed.exchange(true)) loop.error = std::current_exception();
    // The loop stays open while this chunk has not ended, so the claims seen here are still the same loop's.
    claims = loop.claims.load(std::memory_order_relaxed);
    while (!loop.claims.compare_exchange_weak(claims, claims & ~kUnclaimedMask, std::memory_order_acq_rel)) {
    }
    ended += static_cast<uint32_t>(claims & kUnclaimedMask);
  }
  loop.num_ended.fetch_add(ended);
  // The owner may have returned already and begun another loop: at worst it is woken once for nothing.
  if (loop.owner_parked.load()) {
    std::lock_guard lock(mutex);
    loop_ended.notify_all();
  }
  return true;
}

void ThreadPool::State::run_round(Loop& loop, uint32_t num_chunks, int worker_idx,
                                  const std::function<void(int64_t, int)>& chunk) {
  loop.chunk = &chunk;
  loop.num_chunks = num_chunks;
  loop.num_ended.store(0, std::memory_order_relaxed);
  const uint64_t number =
      (loop.claims.load(std::memory_order_relaxed) & ~kUnclaimedMask) + (kUnclaimedMask + 1);
  loop.claims.store(number | num_chunks);
  wake_helpers(num_chunks - 1);
  while (claim_and_run(loop, worker_idx)) {
  }

  const auto ended = [&] { return loop.num_ended.load() == num_chunks; };
  if (!spin_until(ended)) {
    std::unique_lock lock(mutex);
    loop.owner_parked.store(true);
    loop_ended.wait(lock, ended);
    loop.owner_parked.store(false);
  }
}

void ThreadPool::State::wake_helpers(uint32_t num_wanted) {
  const int parked = num_parked.load();
  if (parked == 0 || num_wanted == 0) return;
  {
    std::lock_guard lock(mutex);
  }  // a thread that counted itself as parked is waiting once the mutex is free
  for (uint32_t i = std::min(num_wanted, static_cast<uint32_t>(parked)); i > 0; --i)
    work_or_stop.notify_one();
}

void ThreadPool::State::shut_down() {
  {
    std::lock_guard lock(mutex);
    stopping = true;
  }
  work_or_stop.notify_all();
  for (std::thread& thread : threads) thread.join();
}

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>(num_threads)) {
  State& state = *state_;
  state.threads.reserve(state.loops.size());
  try {
    for (size_t i = 0; i < state.loops.size(); ++i) {
      state.threads.emplace_back([&state, i] { state.worker_main(static_cast<int>(i)); });
    }
  } catch (...) {
    state.shut_down();
    throw;
  }
}

ThreadPool::~ThreadPool() { state_->shut_down(); }

int ThreadPool::num_threads() const { return static_cast<int>(state_->loops.size()); }

void ThreadPool::submit(std::function<void(int worker_idx)> job) {
  {
    std::lock_guard lock(state_->mutex);
    state_->jobs.push_back(std::move(job));
    state_->num_jobs.fetch_add(1);
  }
  state_->work_or_stop.notify_one();
}

void ThreadPool::parallel_for(int64_t num_chunks, int worker_idx,
                              const std::function<void(int64_t, int)>& chunk) {
  Loop& loop = state_->loops[static_cast<size_t>(worker_idx)];
  if (num_chunks == 1 || loop.open || state_->loops.size() == 1) {
    for (int64_t i = 0; i < num_chunks; ++i) chunk(i, worker_idx);
    return;
  }
  loop.open = true;
  for (int64_t begin = 0; begin < num_chunks && !loop.failed.load(); begin += kMaxRoundChunks) {
    const auto count = static_cast<uint32_t>(std::min(num_chunks - begin, kMaxRoundChunks));
    if (begin == 0) {
      state_->run_round(loop, count, worker_idx, chunk);
    } else {
      state_->run_round(loop, count, worker_idx, [&](int64_t i, int worker) { chunk(begin + i, worker); });
    }
  }
  loop.open = false;
  if (loop.failed.exchange(false)) std::rethrow_exception(std::exchange(loop.error, nullptr));
}

}  // namespace elasticlm
