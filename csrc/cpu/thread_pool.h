// A fixed team of threads that runs one job at a time; the caller works too.
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include <atomic>
#include <vector>

namespace deal {

class ThreadPool {
 public:
  // Job: work(user, slot), called once a slot; slots are 0...size-1 and run side by side.
  using Work = void (*)(void* user, int slot);

  // Called by each thread but the caller's before its first work, with its slot; may be NULL.
  struct Start {
    void (*call)(void* user, int32_t slot);
    void* user;
  };

  explicit ThreadPool(int size, Start start = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }
  // False in a child of fork(), where the threads do not exist.
  bool alive() const;
  void run(Work work, void* user);

 private:
  struct Worker {
    ThreadPool* pool;
    int slot;
    pthread_t thread;
  };
  static void* enter(void* worker);
  void serve(int slot);
  void stop(size_t started);

  const int size_;
  const Start start_;
  const pid_t owner_;
  std::vector<Worker> workers_;
  pthread_mutex_t mutex_;
  pthread_cond_t wake_, done_;
  Work work_ = nullptr;
  void* user_ = nullptr;
  std::atomic<uint64_t> round_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stopping_{false};
};

// The cores this process may run on.
int available_cores();

}  // namespace deal
