// Which stages an output needs.
#pragma once

#include "abi/deal.h"
#include "abi/request.h"

namespace deal {

struct Needs {
  bool statistics, boundary, committee, contours;
  bool difficulty, raster;  // on the grid, and of every pixel
  bool boxes;
  Needs(const Request& request, const deal_output& output);
};

}  // namespace deal
