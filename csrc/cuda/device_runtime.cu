// Memory, streams, events and graphs by CUDA's runtime.
#include "cuda/device_runtime.h"

#include "cuda/cuda_tools.h"

namespace deal {
namespace {

cudaStream_t stream_of(void* handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t event_of(void* handle) { return static_cast<cudaEvent_t>(handle); }

class Runtime : public DeviceRuntime {
 public:
  int count() const override {
    int found = 0;
    check(cudaGetDeviceCount(&found), "cudaGetDeviceCount");
    return found;
  }
  DeviceProperties properties(int device) const override {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties");
    DeviceProperties found = {p.name,           p.major, p.minor, p.multiProcessorCount,
                              p.totalGlobalMem, 0,       0};
    check(cudaDriverGetVersion(&found.driver), "cudaDriverGetVersion");
    check(cudaRuntimeGetVersion(&found.runtime), "cudaRuntimeGetVersion");
    return found;
  }

  int current() const override {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    return device;
  }
  void make_current(int device) const override { check(cudaSetDevice(device), "cudaSetDevice"); }

  void* take(int device, MemoryKind kind, size_t size) const override {
    UseDevice use(device);
    void* memory = nullptr;
    check(kind == MemoryKind::kDevice ? cudaMalloc(&memory, size) : cudaMallocHost(&memory, size),
          "memory");
    return memory;
  }
  void give_back(MemoryKind kind, void* memory) const override {
    check(kind == MemoryKind::kDevice ? cudaFree(memory) : cudaFreeHost(memory), "memory");
  }
  void copy(void* to, const void* from, size_t size, void* stream) const override {
    check(cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, stream_of(stream)), "copy");
  }

  void* create_stream(int device) const override {
    UseDevice use(device);
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    return stream;
  }
  void destroy_stream(void* stream) const override {
    check(cudaStreamDestroy(stream_of(stream)), "stream");
  }
  void synchronize_stream(void* stream) const override {
    check(cudaStreamSynchronize(stream_of(stream)), "work on the device");
  }

  void* create_event(int device, bool timing) const override {
    UseDevice use(device);
    cudaEvent_t event;
    // Blocking: a thread that waits leaves its core to those that decode.
    check(cudaEventCreateWithFlags(
              &event, cudaEventBlockingSync | (timing ? cudaEventDefault : cudaEventDisableTiming)),
          "event");
    return event;
  }
  void destroy_event(void* event) const override {
    check(cudaEventDestroy(event_of(event)), "event");
  }
  void record_event(void* event, void* stream) const override {
    check(cudaEventRecord(event_of(event), stream_of(stream)), "event");
  }
  void synchronize_event(void* event) const override {
    check(cudaEventSynchronize(event_of(event)), "work on the device");
  }
  void wait_event(void* stream, void* event) const override {
    check(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0), "event");
  }
  float milliseconds(void* begin, void* end) const override {
    float elapsed = 0.0f;
    check(cudaEventElapsedTime(&elapsed, event_of(begin), event_of(end)), "event");
    return elapsed;
  }

  void begin_capture(void* stream) const override {
    // Of this thread alone: others go on taking memory, which a global capture would not survive.
    check(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal), "capture");
  }
  void* end_capture(void* stream) const override {
    cudaGraph_t graph;
    check(cudaStreamEndCapture(stream_of(stream), &graph), "capture");
    cudaGraphExec_t executable;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "graph");
    return executable;
  }
  void launch_graph(void* graph, void* stream) const override {
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)), "graph");
  }
  void destroy_graph(void* graph) const override {
    check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "graph");
  }
};

}  // namespace

const DeviceRuntime& device_runtime() {
  static const Runtime runtime;
  return runtime;
}

}  // namespace deal
