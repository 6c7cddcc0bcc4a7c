// Memory, streams, events and graphs of CUDA devices, for what brings images to a network there.
// Implemented by device_runtime.cu, or in a build without CUDA by device_runtime_nocuda.cpp; free
// of CUDA's own headers. Handles are CUDA's: a stream is a cudaStream_t. All throw DeviceError.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>

namespace deal {

struct DeviceProperties {
  std::string name;
  int major, minor;  // compute capability
  int multiprocessors;
  size_t memory;        // bytes
  int driver, runtime;  // CUDA versions, 1000 * major + 10 * minor
};

enum class MemoryKind { kDevice, kPinnedHost };

class DeviceRuntime {
 public:
  virtual ~DeviceRuntime() = default;

  virtual int count() const = 0;
  virtual DeviceProperties properties(int device) const = 0;
  // The device that other libraries of CUDA go by, in this thread.
  virtual int current() const = 0;
  virtual void make_current(int device) const = 0;

  virtual void* take(int device, MemoryKind kind, size_t size) const = 0;
  virtual void give_back(MemoryKind kind, void* memory) const = 0;
  // From host or device to host or device. Host memory has to be pinned for the call to return
  // before the copy is done.
  virtual void copy(void* to, const void* from, size_t size, void* stream) const = 0;

  // Does not wait for the legacy default stream, nor that for it.
  virtual void* create_stream(int device) const = 0;
  virtual void destroy_stream(void* stream) const = 0;
  virtual void synchronize_stream(void* stream) const = 0;

  virtual void* create_event(int device, bool timing) const = 0;
  virtual void destroy_event(void* event) const = 0;
  virtual void record_event(void* event, void* stream) const = 0;
  virtual void synchronize_event(void* event) const = 0;
  // What is launched on the stream later waits for the event as it was recorded last.
  virtual void wait_event(void* stream, void* event) const = 0;
  virtual float milliseconds(void* begin, void* end) const = 0;

  // Of what this thread launches on the stream between the two nothing runs: it becomes a graph.
  virtual void begin_capture(void* stream) const = 0;
  virtual void* end_capture(void* stream) const = 0;
  virtual void launch_graph(void* graph, void* stream) const = 0;
  virtual void destroy_graph(void* graph) const = 0;
};

const DeviceRuntime& device_runtime();

}  // namespace deal
