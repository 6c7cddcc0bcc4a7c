// Scores and signatures of the C ABI, and the logarithm that they use.
#pragma once

#include <pybind11/pybind11.h>

namespace deal {

void bind_scores(pybind11::module_& m);

}  // namespace deal
