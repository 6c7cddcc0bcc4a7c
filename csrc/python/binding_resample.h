// deal._native's resample.
#pragma once

#include <pybind11/pybind11.h>

namespace deal {

void bind_resample(pybind11::module_& m);

}  // namespace deal
