#include "tensor_py.h"

#include <string>

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
constexpr uint8_t kDLFloat = 2, kDLBfloat = 4;

[[noreturn]] void wrong_dtype(const char* name, const std::string& dtype) {
  throw py::type_error(std::string(name) + ": " + dtype +
                       " values; float32, float16 or bfloat16 are needed");
}

[[noreturn]] void wrong_rank(const char* name, int64_t rank) {
  throw py::value_error(std::string(name) + ": rank " + std::to_string(rank) +
                        "; the shape [batch, channels, height, width] is needed");
}

void set_shape(deal_tensor* t, const int64_t* shape, const int64_t* strides) {
  t->members = 1;
  t->batch = shape[0];
  t->channels = shape[1];
  t->height = shape[2];
  t->width = shape[3];
  t->stride[0] = 0;
  for (int k = 0; k < 4; ++k) t->stride[k + 1] = strides[k];
}

PyTensor from_numpy(const py::array& array, const char* name) {
  const std::string dtype = py::str(array.dtype().attr("name"));
  PyTensor result;
  deal_tensor& t = result.tensor;
  t.struct_size = sizeof t;
  t.device = DEAL_CPU;
  if (dtype == "float32") {
    t.dtype = DEAL_FLOAT32;
  } else if (dtype == "float16") {
    t.dtype = DEAL_FLOAT16;
  } else if (dtype == "bfloat16") {
    t.dtype = DEAL_BFLOAT16;
  } else {
    wrong_dtype(name, dtype);
  }
  if (array.ndim() != 4) wrong_rank(name, array.ndim());
  if (!array.dtype().attr("isnative").cast<bool>()) wrong_dtype(name, "byte-swapped " + dtype);
  int64_t shape[4], strides[4];
  for (int k = 0; k < 4; ++k) {
    shape[k] = array.shape(k);
    if (array.strides(k) % array.itemsize() != 0) {
      throw py::value_error(std::string(name) +
                            ": a stride is no multiple of the element; pass a contiguous copy");
    }
    strides[k] = array.strides(k) / array.itemsize();
  }
  set_shape(&t, shape, strides);
  t.data = array.data();
  result.owner = array;
  return result;
}

PyTensor from_dlpack(const py::object& object, const char* name) {
  py::object capsule;
  try {
    capsule = object.attr("__dlpack__")();
  } catch (py::error_already_set& error) {
    // value() alone: what() adds the traceback. The library's own text says the remedy.
    throw py::type_error(std::string(name) +
                         ": DLPack refused the array: " + std::string(py::str(error.value())));
  }
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  PyTensor result;
  result.dlpack_owner = std::shared_ptr<void>(managed, [](void* p) {
    auto* m = static_cast<DLManagedTensor*>(p);
    if (m->deleter != nullptr) m->deleter(m);
  });
  const DLTensor& dl = managed->tensor;
  deal_tensor& t = result.tensor;
  t.struct_size = sizeof t;
  if (dl.device.type == kDLCPU || dl.device.type == kDLCUDAHost) {
    t.device = DEAL_CPU;
  } else if (dl.device.type == kDLCUDA) {
    t.device = DEAL_CUDA;
  } else {
    throw py::type_error(std::string(name) + ": DLPack device type " +
                         std::to_string(dl.device.type) + " is not supported");
  }
  const DLDataType type = dl.dtype;
  if (type.code == kDLFloat && type.bits == 32 && type.lanes == 1) {
    t.dtype = DEAL_FLOAT32;
  } else if (type.code == kDLFloat && type.bits == 16 && type.lanes == 1) {
    t.dtype = DEAL_FLOAT16;
  } else if (type.code == kDLBfloat && type.bits == 16 && type.lanes == 1) {
    t.dtype = DEAL_BFLOAT16;
  } else {
    wrong_dtype(name, "DLPack type code " + std::to_string(type.code) + ", " +
                          std::to_string(type.bits) + "-bit");
  }
  if (dl.ndim != 4) wrong_rank(name, dl.ndim);
  int64_t strides[4];
  int64_t step = 1;
  for (int k = 3; k >= 0; --k) {
    strides[k] = dl.strides != nullptr ? dl.strides[k] : step;
    step *= dl.shape[k];
  }
  set_shape(&t, dl.shape, strides);
  t.data = static_cast<const char*>(dl.data) + dl.byte_offset;
  return result;
}

}  // namespace

PyTensor read_tensor(const py::object& object, const char* name) {
  if (py::isinstance<py::array>(object)) return from_numpy(object.cast<py::array>(), name);
  if (py::hasattr(object, "__dlpack__")) return from_dlpack(object, name);
  if (py::hasattr(object, "__cuda_array_interface__")) {
    throw py::type_error(std::string(name) +
                         ": the array lies on a CUDA device; this build scores on the CPU only");
  }
  if (PyObject_CheckBuffer(object.ptr())) return from_numpy(py::array(object), name);
  throw py::type_error(std::string(name) +
                       ": pass an array with the buffer protocol or DLPack (NumPy, PyTorch, …)");
}

}  // namespace deal
