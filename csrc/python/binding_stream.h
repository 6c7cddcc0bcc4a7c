// The selector of a stream (csrc/abi/deal_stream.h).
#pragma once

#include <pybind11/pybind11.h>

namespace deal {

void bind_stream(pybind11::module_& m);

}  // namespace deal
