// Python arrays as tensors: NumPy arrays directly, everything else through DLPack.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>

#include "deal.h"

namespace deal {

struct PyTensor {
  deal_tensor tensor = {};
  pybind11::object owner;              // keeps NumPy memory alive
  std::shared_ptr<void> dlpack_owner;  // releases DLPack memory
};

// Rank 4 [B, C, h, w]; raises TypeError or ValueError with the remedy.
PyTensor read_tensor(const pybind11::object& object, const char* name);

}  // namespace deal
