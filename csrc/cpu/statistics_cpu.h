// Runs requests on the CPU.
#pragma once

#include <atomic>

#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "abi/request.h"
#include "cpu/thread_pool.h"
#include "cpu/workspace.h"

namespace deal {

class CpuScorer {
 public:
  CpuScorer(int threads, const Kernels& kernels, ThreadPool::Start start)
      : pool_(threads, start), kernels_(kernels), workspace_(threads) {}

  // False in a child of fork().
  bool alive() const { return pool_.alive(); }
  void reserve(const Request& request);
  void score(const Request& request, const deal_output& output);
  deal_context_counters counters() const;

 private:
  ThreadPool pool_;
  const Kernels& kernels_;
  Workspace workspace_;
  Block64 memory_;
  int64_t frames_ = 0;
  std::atomic<int64_t> nonfinite_frames_{0};
};

}  // namespace deal
