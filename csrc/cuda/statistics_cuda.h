// Runs requests on a CUDA device. Implemented by statistics_cuda.cu, or in a build without CUDA by
// statistics_nocuda.cpp; free of CUDA's own headers.
#pragma once

#include <stdint.h>

#include <memory>

#include "abi/deal.h"
#include "abi/failure.h"
#include "abi/request.h"
#include "cpu/thread_pool.h"

namespace deal {

constexpr int64_t kMaxCudaBatch = 65535;  // images are the second dimension of the launches

class CudaScorer {
 public:
  virtual ~CudaScorer() = default;
  // Takes all memory that a request needs.
  virtual void reserve(const Request& request) = 0;
  // Launches on the stream and returns; takes memory only where reserve() has not.
  virtual void enqueue(const Request& request, const deal_output& output, void* stream) = 0;
  // Waits for what was launched and writes the tables of its output.
  virtual void finish() = 0;
  virtual deal_context_counters counters() const = 0;
};

bool has_cuda();
// Threads trace the lines between predicted classes, in finish().
std::unique_ptr<CudaScorer> make_cuda_scorer(int device_index, int threads,
                                             ThreadPool::Start start);

// Index of the device that the memory belongs to.
int cuda_device_of(const void* memory);
// Work launched later on the stream `after` waits for what is on the stream `before` now.
void cuda_wait(uintptr_t before, uintptr_t after, int device_index);

}  // namespace deal
