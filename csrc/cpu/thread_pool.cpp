#include "cpu/thread_pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace deal {
namespace {

// The stages of an image follow one another within microseconds: waking a thread takes longer. So
// wait awake for about a tenth of a millisecond before sleeping.
template <class Condition>
bool soon(Condition&& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  return false;
}

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "the kernel reads plain words");

// Sleeps if the word has that value, until it is woken; also wakes for no reason.
void sleep_on(std::atomic<uint32_t>& word, uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake(std::atomic<uint32_t>& word, int64_t threads) {
  const int count = static_cast<int>(std::min<int64_t>(threads, INT_MAX));
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

}  // namespace

ThreadPool::ThreadPool(int size, Start start) : size_(size), start_(start), owner_(getpid()) {
  workers_.resize(static_cast<size_t>(size - 1));
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i].pool = this;
    workers_[i].slot = static_cast<int>(i) + 1;
    const int error = pthread_create(&workers_[i].thread, nullptr, enter, &workers_[i]);
    if (error != 0) {
      stop(i);
      throw std::system_error(error, std::generic_category(), "cannot start a thread");
    }
  }
}

ThreadPool::~ThreadPool() {
  if (alive()) stop(workers_.size());
}

void ThreadPool::stop(size_t started) {
  stopping_ = true;
  ++call_;
  wake(call_, INT_MAX);
  for (size_t i = 0; i < started; ++i) pthread_join(workers_[i].thread, nullptr);
}

bool ThreadPool::alive() const { return getpid() == owner_; }

void* ThreadPool::enter(void* worker) {
  auto* self = static_cast<Worker*>(worker);
  char name[16];  // the longest that Linux takes
  snprintf(name, sizeof name, "deal-%d", self->slot);
  prctl(PR_SET_NAME, name);
  const Start& start = self->pool->start_;
  if (start.call != nullptr) start.call(start.user, self->slot);
  self->pool->serve(self->slot);
  return nullptr;
}

bool ThreadPool::open() const {
  const uint64_t seen = chunks_;
  return static_cast<uint32_t>(seen) < seen >> 32;
}

// Does chunks until none is left. A thread that comes late adds to the counter of a job that is
// done, or takes part in the next job.
void ThreadPool::work_on(int slot) {
  uint32_t done = 0;
  while (open()) {
    const uint64_t taken = chunks_.fetch_add(1);
    const int64_t chunk = static_cast<uint32_t>(taken);
    if (chunk >= static_cast<int64_t>(taken >> 32)) break;
    work_(user_, chunk, slot);
    ++done;
  }
  if (done == 0 || left_.fetch_sub(done) != done) return;
  if (waiting_) wake(left_, 1);
}

void ThreadPool::serve(int slot) {
  const auto called = [&] { return open() || stopping_; };
  while (!stopping_) {
    work_on(slot);
    if (soon(called)) continue;
    // Whoever adds a job counts it before it looks for sleepers.
    const uint32_t call = call_;
    ++sleepers_;
    if (!called()) sleep_on(call_, call);
    --sleepers_;
  }
}

void ThreadPool::run(int64_t chunks, Work work, void* user) {
  work_ = work;
  user_ = user;
  left_ = static_cast<uint32_t>(chunks);
  chunks_ = static_cast<uint64_t>(chunks) << 32;
  ++call_;
  if (sleepers_ != 0) wake(call_, chunks - 1);
  work_on(0);
  if (soon([&] { return left_ == 0; })) return;
  waiting_ = true;
  for (uint32_t left = left_; left != 0; left = left_) sleep_on(left_, left);
  waiting_ = false;
}

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count < 1 ? 1 : count;
}

}  // namespace deal
