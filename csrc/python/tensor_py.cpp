#include "python/tensor_py.h"

#include <pybind11/stl.h>

#include "cuda/statistics_cuda.h"

namespace py = pybind11;

namespace deal {
namespace {

// The stable part of DLPack's ABI (dmlc/dlpack, version 0.x, the capsule named "dltensor").
struct DLDevice {
  int32_t type, id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
constexpr int32_t kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3;

std::string dtype_name(DLDataType type) {
  static const char* const names[] = {"int", "uint", "float", "handle", "bfloat"};
  const std::string kind = type.code < 5 ? names[type.code] : "code " + std::to_string(type.code);
  return kind + std::to_string(type.bits) + (type.lanes == 1 ? "" : " vector");
}

std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t k = shape.size(); k-- > 0; step *= shape[k]) strides[k] = step;
  return strides;
}

void set_byte_strides(PyArray* array, const std::vector<int64_t>& bytes, int64_t itemsize,
                      const char* name) {
  for (const int64_t stride : bytes) {
    if (stride % itemsize != 0) {
      throw py::value_error(
          std::string(name) +
          ": a stride is not a multiple of the element size; pass a contiguous copy");
    }
    array->strides.push_back(stride / itemsize);
  }
}

PyArray from_numpy(const py::array& array, const char* name) {
  PyArray result;
  result.dtype = py::str(array.dtype().attr("name"));
  if (!array.dtype().attr("isnative").cast<bool>()) result.dtype = "byte-swapped " + result.dtype;
  result.shape.assign(array.shape(), array.shape() + array.ndim());
  set_byte_strides(&result, {array.strides(), array.strides() + array.ndim()}, array.itemsize(),
                   name);
  result.data = const_cast<void*>(array.data());
  result.writable = array.writeable();
  result.owner = array;
  return result;
}

// DLPack's numbers for CUDA streams: 1 is the legacy default stream, whose handle is 0.
py::object dlpack_capsule(const py::object& object, Stream stream) {
  const bool on_cuda =
      py::hasattr(object, "__dlpack_device__") &&
      py::int_(py::tuple(object.attr("__dlpack_device__")())[0]).cast<int>() == kDLCUDA;
  if (!on_cuda) return object.attr("__dlpack__")();
  const uintptr_t handle = stream.value_or(0);
  return object.attr("__dlpack__")(py::arg("stream") = handle == 0 ? uintptr_t{1} : handle);
}

PyArray from_dlpack(const py::object& object, const char* name, Stream stream) {
  py::object capsule;
  try {
    capsule = dlpack_capsule(object, stream);
  } catch (py::error_already_set& error) {
    // value() alone: what() adds the traceback. The library's own text says the remedy.
    throw py::type_error(std::string(name) +
                         ": DLPack refused the array: " + std::string(py::str(error.value())));
  }
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  PyArray result;
  result.dlpack_owner = std::shared_ptr<void>(managed, [](void* p) {
    auto* m = static_cast<DLManagedTensor*>(p);
    if (m->deleter != nullptr) m->deleter(m);
  });
  const DLTensor& dl = managed->tensor;
  if (dl.device.type == kDLCUDA) {
    result.cuda = dl.device.id;
  } else if (dl.device.type != kDLCPU && dl.device.type != kDLCUDAHost) {
    throw py::type_error(std::string(name) + ": DLPack device type " +
                         std::to_string(dl.device.type) + " is not supported");
  }
  result.dtype = dtype_name(dl.dtype);
  result.shape.assign(dl.shape, dl.shape + dl.ndim);
  if (dl.strides != nullptr) {
    result.strides.assign(dl.strides, dl.strides + dl.ndim);
  } else {
    result.strides = dense_strides(result.shape);
  }
  result.data = static_cast<char*>(dl.data) + dl.byte_offset;
  return result;
}

// Version 3 of the interface, https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
PyArray from_cuda_interface(const py::object& object, const char* name, Stream stream) {
  if (!has_cuda()) {
    throw py::type_error(std::string(name) +
                         ": the array lies on a CUDA device; this build scores on the CPU only");
  }
  const py::dict fields = object.attr("__cuda_array_interface__");
  const auto data = fields["data"].cast<std::pair<uintptr_t, bool>>();
  const py::dtype dtype = py::dtype::from_args(fields["typestr"]);
  PyArray result;
  result.data = reinterpret_cast<void*>(data.first);
  result.writable = !data.second;
  result.dtype = py::str(dtype.attr("name"));
  result.shape = fields["shape"].cast<std::vector<int64_t>>();
  if (fields.contains("strides") && !fields["strides"].is_none()) {
    set_byte_strides(&result, fields["strides"].cast<std::vector<int64_t>>(), dtype.itemsize(),
                     name);
  } else {
    result.strides = dense_strides(result.shape);
  }
  result.cuda = cuda_device_of(result.data);
  if (fields.contains("stream") && !fields["stream"].is_none()) {
    const auto producer = fields["stream"].cast<uintptr_t>();
    const uintptr_t consumer = stream.value_or(0);
    if (producer != consumer) {
      py::gil_scoped_release release;  // what the device waits for may want it
      cuda_wait(producer, consumer, *result.cuda);
    }
  }
  result.owner = object;
  return result;
}

}  // namespace

bool PyArray::contiguous() const {
  const std::vector<int64_t> dense = dense_strides(shape);
  for (size_t k = 0; k < shape.size(); ++k) {
    if (shape[k] != 1 && strides[k] != dense[k]) return false;
  }
  return true;
}

PyArray read_array(const py::object& object, const char* name, Stream stream) {
  if (py::isinstance<py::array>(object)) return from_numpy(object.cast<py::array>(), name);
  if (py::hasattr(object, "__dlpack__")) return from_dlpack(object, name, stream);
  if (py::hasattr(object, "__cuda_array_interface__")) {
    return from_cuda_interface(object, name, stream);
  }
  if (PyObject_CheckBuffer(object.ptr())) return from_numpy(py::array(object), name);
  throw py::type_error(std::string(name) +
                       ": pass an array with the buffer protocol or DLPack (NumPy, PyTorch, …)");
}

deal_tensor as_tensor(const PyArray& array, const char* name, bool committees) {
  deal_tensor t = {};
  t.struct_size = sizeof t;
  if (array.dtype == "float32") {
    t.dtype = DEAL_FLOAT32;
  } else if (array.dtype == "float16") {
    t.dtype = DEAL_FLOAT16;
  } else if (array.dtype == "bfloat16") {
    t.dtype = DEAL_BFLOAT16;
  } else {
    throw py::type_error(std::string(name) + ": " + array.dtype +
                         " values; float32, float16 or bfloat16 are needed");
  }
  const size_t rank = array.shape.size();
  if (rank != 4 && !(committees && rank == 5)) {
    throw py::value_error(
        std::string(name) + ": rank " + std::to_string(rank) +
        "; the shape [batch, channels, height, width] is needed" +
        (committees ? ", of a committee [members, batch, channels, height, width]" : ""));
  }
  if (rank == 5 && array.shape[0] == 0) {
    throw py::value_error(std::string(name) + ": a committee without members");
  }
  t.data = array.data;
  t.device = array.cuda ? DEAL_CUDA : DEAL_CPU;
  t.members = rank == 5 ? array.shape[0] : 1;
  t.stride[0] = rank == 5 ? array.strides[0] : 0;
  const int64_t* shape = array.shape.data() + (rank - 4);
  t.batch = shape[0];
  t.channels = shape[1];
  t.height = shape[2];
  t.width = shape[3];
  for (int k = 0; k < 4; ++k) t.stride[k + 1] = array.strides[rank - 4 + k];
  return t;
}

}  // namespace deal
