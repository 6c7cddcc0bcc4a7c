// Python arrays of the host or a CUDA device: NumPy arrays directly, others through DLPack or
// __cuda_array_interface__.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "abi/deal.h"

namespace deal {

// Where an array lies: the CPU, or the CUDA device of this index.
using Place = std::optional<int>;

struct PyArray {
  void* data = nullptr;
  Place cuda;
  std::string dtype;                    // NumPy's name of it
  std::vector<int64_t> shape, strides;  // in elements
  bool writable = true;
  pybind11::object owner;              // keeps NumPy and __cuda_array_interface__ memory alive
  std::shared_ptr<void> dlpack_owner;  // releases DLPack memory

  bool contiguous() const;
};

// The consumer's stream, as a number: a device array's producer has to be done before it goes on.
using Stream = std::optional<uintptr_t>;

// Raises TypeError or ValueError with the remedy.
PyArray read_array(const pybind11::object& object, const char* name, Stream stream);

// Of floats, rank 4 [B, C, h, w], or where `committees` says so 5 [M, B, C, h, w]. The array has to
// outlive the tensor.
deal_tensor as_tensor(const PyArray& array, const char* name, bool committees);

}  // namespace deal
