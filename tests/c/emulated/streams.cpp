// Streams, events and graphs of the emulated runtime: queues of work that is done when it has to
// be.
#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "cuda_runtime.h"

using Clock = std::chrono::steady_clock;

struct CUgraph_st {
  std::vector<std::function<void(cudaStream_t)>> nodes;
};
struct CUgraphExec_st {
  CUgraph_st graph;
};
struct CUstream_st {
  std::deque<std::function<void()>> work;
  uint64_t done = 0;
  bool busy = false;  // within its work, which may call back: a host function that frees memory
  std::unique_ptr<CUgraph_st> captured;  // while it is captured
};

namespace {

// What an event stands for: so much of a stream's work.
struct Mark {
  cudaStream_t stream = nullptr;
  uint64_t position = 0;
  std::shared_ptr<Clock::time_point> time = std::make_shared<Clock::time_point>();
};

// One device, whose streams may be called by many threads.
std::recursive_mutex device;
std::set<cudaStream_t> streams;
std::map<const char*, size_t> blocks;  // of memory that was taken here: of the device, or pinned
thread_local int captures = 0;

bool is_pageable(const void* memory) {
  const auto after = blocks.upper_bound(static_cast<const char*>(memory));
  if (after == blocks.begin()) return true;
  const auto block = std::prev(after);
  return static_cast<const char*>(memory) >= block->first + block->second;
}

uint64_t end_of(cudaStream_t stream) { return stream->done + stream->work.size(); }

void work_until(cudaStream_t stream, uint64_t position) {
  if (streams.count(stream) == 0) return;  // the default stream, or one that ended with its work
  if (stream->busy) return;                // later work must not overtake what is being done
  while (stream->done < position && !stream->work.empty()) {
    const auto next = std::move(stream->work.front());
    stream->work.pop_front();
    stream->busy = true;
    next();
    stream->busy = false;
    ++stream->done;
  }
}

// Work whose graph node is not simply the same work.
void enqueue_node(cudaStream_t stream, std::function<void(cudaStream_t)> node) {
  if (stream != nullptr && stream->captured) {
    stream->captured->nodes.push_back(std::move(node));
  } else {
    node(stream);
  }
}

}  // namespace

struct CUevent_st {
  Mark mark;
};

namespace emulated {

void enqueue(cudaStream_t stream, std::function<void()> work) {
  std::lock_guard lock(device);
  enqueue_node(stream, [work = std::move(work)](cudaStream_t on) {
    if (on == nullptr) {
      work();
    } else {
      on->work.push_back(work);
    }
  });
}

}  // namespace emulated

// ---- memory -----------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** memory, size_t size) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  *memory = malloc(size);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  memset(*memory, 0xa5, size);
  std::lock_guard lock(device);
  blocks[static_cast<char*>(*memory)] = size;
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  std::lock_guard lock(device);
  const auto release = [memory] {
    blocks.erase(static_cast<char*>(memory));
    free(memory);
  };
  for (const cudaStream_t stream : streams) {
    if (stream->busy) return stream->work.push_back(release), cudaSuccess;
  }
  for (const cudaStream_t stream : streams) work_until(stream, end_of(stream));
  return release(), cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t size, cudaStream_t stream) {
  emulated::enqueue(stream, [=] { memset(memory, value, size); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind,
                            cudaStream_t stream) {
  std::lock_guard lock(device);
  if (is_pageable(from)) {  // is read before the call returns
    const char* bytes = static_cast<const char*>(from);
    emulated::enqueue(stream, [to, copy = std::vector<char>(bytes, bytes + size)] {
      memcpy(to, copy.data(), copy.size());
    });
    return cudaSuccess;
  }
  emulated::enqueue(stream, [=] { memcpy(to, from, size); });
  return is_pageable(to) ? cudaStreamSynchronize(stream) : cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
  return attributes->device = 0, cudaSuccess;
}

// ---- device -----------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* index) { return *index = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int index) { return index == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (index != 0) return cudaErrorInvalidDevice;
  *properties = {"emulated", size_t{1} << 30, 9, 0, 1};
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*) {
  return getenv("EMULATED_NO_CODE") == nullptr ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return "emulated error";
  }
}

// ---- streams ----------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  std::lock_guard lock(device);
  *stream = new CUstream_st;
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard lock(device);
  work_until(stream, end_of(stream));
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  std::lock_guard lock(device);
  if (stream != nullptr) work_until(stream, end_of(stream));
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::lock_guard lock(device);
  emulated::enqueue(stream, [mark = event->mark] { work_until(mark.stream, mark.position); });
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const bool capturing = stream != nullptr && stream->captured;
  *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  std::lock_guard lock(device);
  if (stream == nullptr || stream->captured) return cudaErrorStreamCaptureUnsupported;
  stream->captured = std::make_unique<CUgraph_st>();
  ++captures;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard lock(device);
  if (stream == nullptr || !stream->captured) return cudaErrorInvalidValue;
  *graph = stream->captured.release();
  --captures;
  return cudaSuccess;
}

// ---- events -----------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  std::lock_guard lock(device);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, 0);
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  std::lock_guard lock(device);
  enqueue_node(stream, [event](cudaStream_t on) {
    event->mark = {};
    event->mark.stream = on;
    const auto tell = [time = event->mark.time] { *time = Clock::now(); };
    emulated::enqueue(on, tell);
    if (on != nullptr) event->mark.position = end_of(on);
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  std::lock_guard lock(device);
  work_until(event->mark.stream, event->mark.position);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  std::lock_guard lock(device);
  for (const cudaEvent_t event : {begin, end}) {
    if (*event->mark.time == Clock::time_point()) return cudaErrorNotReady;
  }
  const auto elapsed = *end->mark.time - *begin->mark.time;
  *milliseconds = std::chrono::duration<float, std::milli>(elapsed).count();
  return cudaSuccess;
}

// ---- graphs -----------------------------------------------------------------------------------

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st{*graph};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  std::lock_guard lock(device);
  for (const auto& node : executable->graph.nodes) node(stream);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return delete executable, cudaSuccess;
}

// For what stands in for other libraries of CUDA in tests: exported, to be called from Python.
extern "C" __attribute__((visibility("default"))) cudaError_t
cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* data) {
  emulated::enqueue(stream, [=] { function(data); });
  return cudaSuccess;
}
