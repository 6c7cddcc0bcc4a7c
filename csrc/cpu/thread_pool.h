// A fixed team of threads that share the chunks of one job at a time; the caller works too.
//
// Chunks are taken from a counter, so the caller finishes a job by itself if the other threads come
// late: it waits for chunks that they have taken, never for threads that have taken none. Nothing
// is locked, so no thread that lost its core holds up another.
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include <atomic>
#include <vector>

namespace deal {

class ThreadPool {
 public:
  // work(user, chunk, slot): called once per chunk, by the thread of that slot, 0...size-1. Slot 0
  // is the caller.
  using Work = void (*)(void* user, int64_t chunk, int slot);

  // Called by each thread but the caller's before its first work, with its slot; may be NULL.
  struct Start {
    void (*call)(void* user, int32_t slot);
    void* user;
  };

  static constexpr int64_t kMostChunks = int64_t{1} << 31;

  explicit ThreadPool(int size, Start start = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }
  // False in a child of fork(), where the threads do not exist.
  bool alive() const;
  // Chunks 0...chunks-1 are done when this returns; at most kMostChunks.
  void run(int64_t chunks, Work work, void* user);

 private:
  struct Worker {
    ThreadPool* pool;
    int slot;
    pthread_t thread;
  };
  static void* enter(void* worker);
  void serve(int slot);
  void work_on(int slot);
  bool open() const;
  void stop(size_t started);

  const int size_;
  const Start start_;
  const pid_t owner_;
  std::vector<Worker> workers_;
  // Of the job in work. A thread reads them once it has a chunk: until that is done they stay.
  Work work_ = nullptr;
  void* user_ = nullptr;
  std::atomic<uint64_t> chunks_{0};    // above: how many there are; below: the next one
  std::atomic<uint32_t> left_{0};      // chunks that are not done
  std::atomic<uint32_t> call_{0};      // counts jobs; what threads without work sleep on
  std::atomic<uint32_t> sleepers_{0};  // threads that sleep, or are about to
  std::atomic<bool> waiting_{false};   // the caller sleeps on left_, or is about to
  std::atomic<bool> stopping_{false};
};

// The cores this process may run on.
int available_cores();

}  // namespace deal
