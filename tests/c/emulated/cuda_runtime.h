// A CUDA runtime that runs kernels on the CPU, thread for thread: just enough for csrc/*_cuda.cu.
//
// It lets the kernels' indices, barriers, totals and flushes be tested where there is no GPU. It
// says nothing of a GPU's memory model, its arithmetic or its speed. A block's threads are fibers;
// a barrier that not all of them reach ends the program.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>

#define __global__
#define __device__
#define __shared__

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
void run(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread);
void wait_for_block();
// Waits for the whole warp; the values that its 32 lanes brought.
const uint64_t* exchange(uint64_t value);
extern bool capturing;  // what cudaStreamIsCapturing tells
}  // namespace emulated

// ---- device -----------------------------------------------------------------------------------

inline void __syncthreads() { emulated::wait_for_block(); }
inline unsigned __ballot_sync(unsigned, bool here) {
  const uint64_t* all = emulated::exchange(here);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(all[lane]) << lane;
  return bits;
}
inline int64_t __shfl_sync(unsigned, int64_t value, int lane) {
  return static_cast<int64_t>(emulated::exchange(static_cast<uint64_t>(value))[lane]);
}
inline unsigned __reduce_add_sync(unsigned, unsigned value) {
  const uint64_t* all = emulated::exchange(value);
  unsigned sum = 0;
  for (int lane = 0; lane < 32; ++lane) sum += static_cast<unsigned>(all[lane]);
  return sum;
}
inline unsigned __reduce_max_sync(unsigned, unsigned value) {
  const uint64_t* all = emulated::exchange(value);
  uint64_t largest = 0;
  for (int lane = 0; lane < 32; ++lane) largest = all[lane] > largest ? all[lane] : largest;
  return static_cast<unsigned>(largest);
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
template <class T>
T atomicAdd(T* total, T value) {
  const T before = *total;
  *total += value;
  return before;
}
inline unsigned atomicMax(unsigned* total, unsigned value) {
  const unsigned before = *total;
  if (value > before) *total = value;
  return before;
}

// ---- host -------------------------------------------------------------------------------------

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum { cudaEventDisableTiming = 2, cudaEventRecordExternal = 1 };
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;

cudaError_t cudaMalloc(void** memory, size_t size);  // filled with rubbish
cudaError_t cudaFree(void* memory);
inline cudaError_t cudaMallocHost(void** memory, size_t size) { return cudaMalloc(memory, size); }
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
cudaError_t cudaMemsetAsync(void* memory, int value, size_t size, cudaStream_t);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t);

inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* index) { return *index = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated error"; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned) {
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
struct cudaPointerAttributes {
  int device;
};
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
  return attributes->device = 0, cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = emulated::capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
template <class Job>
cudaError_t cudaLaunchKernel(void (*kernel)(Job), dim3 grid, dim3 block, void** arguments,
                             size_t shared, cudaStream_t) {
  const Job& job = *static_cast<const Job*>(arguments[0]);
  emulated::run(grid, block, shared, [&] { kernel(job); });
  return cudaSuccess;
}
