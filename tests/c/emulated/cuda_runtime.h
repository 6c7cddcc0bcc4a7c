// A CUDA runtime that runs kernels on the CPU, thread for thread: just enough for csrc/cuda/*.cu.
//
// It lets the kernels' indices, barriers, totals and flushes be tested where there is no GPU, and
// the order that streams and events keep. It says nothing of a GPU's memory model, its arithmetic
// or its speed. A block's threads are fibers; a barrier that not all of them reach ends the
// program.
//
// A stream does its work as late as it may: when somebody waits for it. So work that does not wait
// for what it needs finds rubbish. The default stream works at once. Addresses are the host's.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct CUstream_st;
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
void run(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread);
void wait_for_block();
// Waits for the whole warp; the values that its 32 lanes brought.
const uint64_t* exchange(uint64_t value);
void enqueue(CUstream_st* stream, std::function<void()> work);
}  // namespace emulated

// ---- device -----------------------------------------------------------------------------------

inline void __syncthreads() { emulated::wait_for_block(); }
inline void __syncwarp() { emulated::exchange(0); }
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

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorNotReady = 600,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2, cudaMemcpyDefault = 4 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum {
  cudaEventDefault = 0,
  cudaEventBlockingSync = 1,
  cudaEventDisableTiming = 2,
  cudaEventRecordExternal = 1
};
enum { cudaStreamNonBlocking = 1 };
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
typedef struct CUgraph_st* cudaGraph_t;
typedef struct CUgraphExec_st* cudaGraphExec_t;
struct cudaPointerAttributes {
  int device;
};
struct cudaFuncAttributes {
  int numRegs;
};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
};

// Memory is filled with rubbish. While a stream of the thread is captured, what waits or takes
// memory is refused, as CUDA does.
cudaError_t cudaMalloc(void** memory, size_t size);
cudaError_t cudaFree(void* memory);
inline cudaError_t cudaMallocHost(void** memory, size_t size) { return cudaMalloc(memory, size); }
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
cudaError_t cudaMemsetAsync(void* memory, int value, size_t size, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind,
                            cudaStream_t stream);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*);

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* index);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
// Without code for the device while the environment has EMULATED_NO_CODE.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes);
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  return cudaFuncGetAttributes(attributes);
}
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

template <class Job>
cudaError_t cudaLaunchKernel(void (*kernel)(Job), dim3 grid, dim3 block, void** arguments,
                             size_t shared, cudaStream_t stream) {
  const Job job = *static_cast<const Job*>(arguments[0]);
  emulated::enqueue(stream, [=] { emulated::run(grid, block, shared, [&] { kernel(job); }); });
  return cudaSuccess;
}
