// Python's face of device_runtime.h.
#pragma once

#include <pybind11/pybind11.h>

namespace deal {

void bind_cuda(pybind11::module_& m);

}  // namespace deal
