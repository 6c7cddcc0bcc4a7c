// deal._native's k_center_greedy.
#pragma once

#include <pybind11/pybind11.h>

namespace deal {

void bind_k_center(pybind11::module_& m);

}  // namespace deal
