// What the .cu files share: checked calls, memory, launches, and sums over a warp.
#pragma once

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#include <new>
#include <string>

#include "cuda/device_steps.h"
#include "cuda/statistics_cuda.h"

// Shared memory of the running block; its size is said at the launch.
extern __shared__ int64_t deal_block_memory[];

namespace deal {
namespace {

constexpr unsigned kWholeWarp = 0xffffffffu;

// ---- calls ------------------------------------------------------------------------------------

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that was reported is not reported again
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw DeviceError(std::string(what) + ": " + cudaGetErrorString(error));
}

// Makes a device current for a scope.
class UseDevice {
 public:
  explicit UseDevice(int index) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(index), "cudaSetDevice");
  }
  ~UseDevice() { cudaSetDevice(before_); }
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

 private:
  int before_ = 0;
};

class Event {
 public:
  Event() = default;
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // On the current device.
  void create() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

enum class Where { kDevice, kPinnedHost };

// One block that grows and never shrinks; what was in it is lost.
template <Where where>
class CudaMemory {
 public:
  CudaMemory() = default;
  ~CudaMemory() { release(); }
  CudaMemory(const CudaMemory&) = delete;
  CudaMemory& operator=(const CudaMemory&) = delete;

  char* data() const { return data_; }
  size_t size() const { return size_; }
  void grow(size_t size) {
    if (size <= size_) return;
    release();
    void* taken = nullptr;
    check(where == Where::kDevice ? cudaMalloc(&taken, size) : cudaMallocHost(&taken, size),
          "memory");
    data_ = static_cast<char*>(taken);
    size_ = size;
  }

 private:
  void release() {
    if (data_ == nullptr) return;
    where == Where::kDevice ? cudaFree(data_) : cudaFreeHost(data_);
    data_ = nullptr;
    size_ = 0;
  }

  char* data_ = nullptr;
  size_t size_ = 0;
};

// Kernels take one struct by value: a captured graph holds all its parameters.
template <class Job>
void launch(void (*kernel)(Job), int64_t blocks, int64_t images, int threads, size_t shared,
            cudaStream_t stream, Job job) {
  void* arguments[] = {&job};
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(images));
  check(cudaLaunchKernel(kernel, grid, dim3(static_cast<unsigned>(threads)), arguments, shared,
                         stream),
        "kernel launch");
}

inline int64_t blocks_for(int64_t items, int64_t per_block) {
  return (items + per_block - 1) / per_block;
}

// ---- totals -----------------------------------------------------------------------------------

__device__ inline void add(int64_t* total, uint64_t value) {
  if (value == 0) return;
  atomicAdd(reinterpret_cast<unsigned long long*>(total), static_cast<unsigned long long>(value));
}
__device__ inline void add(uint32_t* total, uint32_t value) {
  if (value != 0) atomicAdd(total, value);
}
// Totals only grow: one that was read too early costs an atomic, never a result.
__device__ inline void raise(uint32_t* total, uint32_t value) {
  if (value > *static_cast<volatile uint32_t*>(total)) atomicMax(total, value);
}

// ---- warps ------------------------------------------------------------------------------------

__device__ inline int lane_of_warp() { return static_cast<int>(threadIdx.x % 32); }

__device__ inline uint32_t warp_sum(uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
#else
  return __reduce_add_sync(kWholeWarp, value);
#endif
}
__device__ inline uint32_t warp_max(uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = 16; step > 0; step /= 2) {
    value = larger(value, __shfl_xor_sync(kWholeWarp, value, step));
  }
  return value;
#else
  return __reduce_max_sync(kWholeWarp, value);
#endif
}

// Calls fn(key, peers, mine) once for each different key among the lanes where `present`; peers are
// the lanes that have it, mine whether this lane does. The whole warp has to come here.
template <class Fn>
__device__ inline void for_each_key(bool present, int64_t key, Fn&& fn) {
  unsigned left = __ballot_sync(kWholeWarp, present);
  while (left != 0) {
    const int64_t chosen = __shfl_sync(kWholeWarp, key, __ffs(static_cast<int>(left)) - 1);
    const bool mine = present && key == chosen;
    const unsigned peers = __ballot_sync(kWholeWarp, mine);
    fn(chosen, peers, mine);
    left &= ~peers;
  }
}

}  // namespace
}  // namespace deal
