// Device memory, streams, events and graphs as Python objects that own them.
#include "python/binding_cuda.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "cuda/device_runtime.h"
#include "cuda/statistics_cuda.h"

namespace py = pybind11;

namespace deal {
namespace {

uintptr_t number(const void* handle) { return reinterpret_cast<uintptr_t>(handle); }
void* address(uintptr_t number) { return reinterpret_cast<void*>(number); }

// Destructors may run after the driver has shut down; then there is nothing left to free. What they
// do may wait for the device, which may wait for a thread that wants the GIL (a host function).
template <class Fn>
void quietly(Fn&& fn) noexcept {
  py::gil_scoped_release release;
  try {
    fn();
  } catch (const DeviceError&) {
  }
}

template <MemoryKind kind>
class Memory {
 public:
  Memory(int device, size_t size)
      : size_(size), data_(device_runtime().take(device, kind, size > 0 ? size : 1)) {}
  ~Memory() {
    quietly([&] { device_runtime().give_back(kind, data_); });
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  void* data_;
};
using DeviceMemory = Memory<MemoryKind::kDevice>;
using PinnedMemory = Memory<MemoryKind::kPinnedHost>;

class Stream {
 public:
  explicit Stream(int device) : device_(device), stream_(device_runtime().create_stream(device)) {}
  ~Stream() {
    quietly([&] { device_runtime().destroy_stream(stream_); });
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void* get() const { return stream_; }
  int device() const { return device_; }

 private:
  int device_;
  void* stream_;
};

class Event {
 public:
  Event(int device, bool timing) : event_(device_runtime().create_event(device, timing)) {}
  ~Event() {
    quietly([&] { device_runtime().destroy_event(event_); });
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void* get() const { return event_; }

 private:
  void* event_;
};

class Graph {
 public:
  explicit Graph(void* graph) : graph_(graph) {}
  ~Graph() {
    quietly([&] { device_runtime().destroy_graph(graph_); });
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void* get() const { return graph_; }

 private:
  void* graph_;
};

}  // namespace

void bind_cuda(py::module_& m) {
  // Whatever the device may make wait: a thread that it waits for may want the GIL.
  using Released = py::call_guard<py::gil_scoped_release>;
  m.def("has_cuda", [] { return has_cuda(); });
  m.def("device_count", [] { return device_runtime().count(); });
  m.def(
      "device_properties",
      [](int device) {
        const DeviceProperties p = device_runtime().properties(device);
        py::dict found;
        found["name"] = p.name;
        found["compute_capability"] = py::make_tuple(p.major, p.minor);
        found["multiprocessors"] = p.multiprocessors;
        found["memory"] = p.memory;
        found["driver"] = py::make_tuple(p.driver / 1000, p.driver % 1000 / 10);
        found["runtime"] = py::make_tuple(p.runtime / 1000, p.runtime % 1000 / 10);
        return found;
      },
      py::arg("device"));

  m.def("current_device", [] { return device_runtime().current(); });
  m.def(
      "set_current_device", [](int device) { device_runtime().make_current(device); },
      py::arg("device"));

  py::class_<DeviceMemory>(m, "DeviceMemory")
      .def(py::init<int, size_t>(), py::arg("device"), py::arg("size"), Released())
      .def_property_readonly("address", [](const DeviceMemory& x) { return number(x.data()); })
      .def_property_readonly("size", &DeviceMemory::size);
  py::class_<PinnedMemory>(m, "PinnedMemory", py::buffer_protocol())
      .def(py::init<int, size_t>(), py::arg("device"), py::arg("size"), Released())
      .def_property_readonly("address", [](const PinnedMemory& x) { return number(x.data()); })
      .def_property_readonly("size", &PinnedMemory::size)
      .def_buffer([](const PinnedMemory& x) {
        return py::buffer_info(static_cast<uint8_t*>(x.data()), static_cast<py::ssize_t>(x.size()));
      });
  py::class_<Stream>(m, "Stream")
      .def(py::init<int>(), py::arg("device"), Released())
      .def_property_readonly("device", &Stream::device)
      .def_property_readonly("cuda_stream", [](const Stream& x) { return number(x.get()); })
      .def(
          "synchronize", [](const Stream& x) { device_runtime().synchronize_stream(x.get()); },
          Released())
      .def(
          "wait",
          [](const Stream& x, const Event& event) {
            device_runtime().wait_event(x.get(), event.get());
          },
          py::arg("event"), Released())
      .def(
          "copy",
          [](const Stream& x, uintptr_t to, uintptr_t from, size_t size) {
            device_runtime().copy(address(to), address(from), size, x.get());
          },
          py::arg("to"), py::arg("from_"), py::arg("size"), Released())
      .def(
          "begin_capture", [](const Stream& x) { device_runtime().begin_capture(x.get()); },
          Released())
      .def(
          "end_capture",
          [](const Stream& x) {
            return std::make_unique<Graph>(device_runtime().end_capture(x.get()));
          },
          Released());
  py::class_<Event>(m, "Event")
      .def(py::init<int, bool>(), py::arg("device"), py::arg("timing") = false, Released())
      .def_property_readonly("cuda_event", [](const Event& x) { return number(x.get()); })
      .def(
          "record",
          [](const Event& x, const Stream& stream) {
            device_runtime().record_event(x.get(), stream.get());
          },
          py::arg("stream"), Released())
      .def(
          "synchronize", [](const Event& x) { device_runtime().synchronize_event(x.get()); },
          Released())
      .def(
          "milliseconds_since",
          [](const Event& x, const Event& begin) {
            return device_runtime().milliseconds(begin.get(), x.get());
          },
          py::arg("begin"), Released());
  py::class_<Graph>(m, "Graph")
      .def(
          "launch",
          [](const Graph& x, const Stream& stream) {
            device_runtime().launch_graph(x.get(), stream.get());
          },
          py::arg("stream"), Released());
}

}  // namespace deal
