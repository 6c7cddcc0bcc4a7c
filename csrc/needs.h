// Which stages an output needs.
#pragma once

#include "deal.h"
#include "plan.h"

namespace deal {

struct Needs {
  bool statistics, boundary, difficulty, boxes;
  Needs(const Request& request, const deal_output& output);
};

}  // namespace deal
