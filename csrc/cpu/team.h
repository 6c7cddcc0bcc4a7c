// Splits an index range over the threads of a pool, or runs it on one thread.
#pragma once

#include <stdint.h>

#include <atomic>

#include "cpu/thread_pool.h"

namespace deal {

class Team {
 public:
  // Serial: everything runs here, as this slot.
  explicit Team(int slot) : slot_(slot) {}
  explicit Team(ThreadPool* pool) : pool_(pool) {}

  // Calls fn(begin, end, slot) over 0...items in pieces that begin at multiples of grain.
  template <class Fn>
  void run(int64_t items, int64_t grain, Fn&& fn) {
    if (items <= 0) return;
    if (pool_ == nullptr || pool_->size() == 1) {
      fn(int64_t{0}, items, slot_);
      return;
    }
    struct Job {
      Fn* fn;
      int64_t items, grain;
      std::atomic<int64_t> next;
    } job{&fn, items, grain, {0}};
    pool_->run(
        [](void* user, int slot) {
          Job& mine = *static_cast<Job*>(user);
          for (;;) {
            const int64_t begin = mine.next.fetch_add(mine.grain);
            if (begin >= mine.items) return;
            const int64_t end = begin + mine.grain < mine.items ? begin + mine.grain : mine.items;
            (*mine.fn)(begin, end, slot);
          }
        },
        &job);
  }

 private:
  ThreadPool* pool_ = nullptr;
  int slot_ = 0;
};

}  // namespace deal
