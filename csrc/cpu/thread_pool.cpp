#include "cpu/thread_pool.h"

#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

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

}  // namespace

ThreadPool::ThreadPool(int size, Start start) : size_(size), start_(start), owner_(getpid()) {
  pthread_mutex_init(&mutex_, nullptr);
  pthread_cond_init(&wake_, nullptr);
  pthread_cond_init(&done_, nullptr);
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
  pthread_mutex_lock(&mutex_);
  stopping_ = true;
  pthread_cond_broadcast(&wake_);
  pthread_mutex_unlock(&mutex_);
  for (size_t i = 0; i < started; ++i) pthread_join(workers_[i].thread, nullptr);
  pthread_cond_destroy(&done_);
  pthread_cond_destroy(&wake_);
  pthread_mutex_destroy(&mutex_);
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

void ThreadPool::serve(int slot) {
  uint64_t seen = 0;
  for (;;) {
    const auto called = [&] { return round_ != seen || stopping_; };
    if (!soon(called)) {
      pthread_mutex_lock(&mutex_);
      while (!called()) pthread_cond_wait(&wake_, &mutex_);
      pthread_mutex_unlock(&mutex_);
    }
    if (stopping_) return;
    seen = round_;  // run() waits for every thread, so the job stays as it is until then
    work_(user_, slot);
    if (--running_ == 0) {
      pthread_mutex_lock(&mutex_);
      pthread_cond_signal(&done_);
      pthread_mutex_unlock(&mutex_);
    }
  }
}

void ThreadPool::run(Work work, void* user) {
  if (size_ == 1) {
    work(user, 0);
    return;
  }
  pthread_mutex_lock(&mutex_);
  work_ = work;
  user_ = user;
  running_ = size_ - 1;
  ++round_;
  pthread_cond_broadcast(&wake_);
  pthread_mutex_unlock(&mutex_);
  work(user, 0);
  if (soon([&] { return running_ == 0; })) return;
  pthread_mutex_lock(&mutex_);
  while (running_ > 0) pthread_cond_wait(&done_, &mutex_);
  pthread_mutex_unlock(&mutex_);
}

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count < 1 ? 1 : count;
}

}  // namespace deal
