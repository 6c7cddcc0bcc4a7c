// Splits an index range over the threads of a pool, or runs it on one thread.
#pragma once

#include <stdint.h>

#include <algorithm>

#include "cpu/thread_pool.h"

namespace deal {

class Team {
 public:
  // Serial: everything runs here, as this slot.
  explicit Team(int slot) : slot_(slot) {}
  explicit Team(ThreadPool* pool) : pool_(pool) {}

  // Calls fn(begin, end, slot) over 0...items in pieces that begin at multiples of grain: side by
  // side over a pool, one piece in all if it runs here.
  template <class Fn>
  void run(int64_t items, int64_t grain, Fn&& fn) {
    if (items <= 0) return;
    while (items / grain >= ThreadPool::kMostChunks) grain *= 2;
    if (pool_ == nullptr || pool_->size() == 1 || items <= grain) {
      fn(int64_t{0}, items, slot_);
      return;
    }
    struct Job {
      Fn* fn;
      int64_t items, grain;
    } job{&fn, items, grain};
    pool_->run((items + grain - 1) / grain,
               [](void* user, int64_t chunk, int slot) {
                 const Job& mine = *static_cast<Job*>(user);
                 const int64_t begin = chunk * mine.grain;
                 (*mine.fn)(begin, std::min(begin + mine.grain, mine.items), slot);
               },
               &job);
  }

 private:
  ThreadPool* pool_ = nullptr;
  int slot_ = 0;
};

}  // namespace deal
