// All loops of one instruction set as a table: what each kernels_*.cpp includes.
#pragma once

#include "cpu/attention_impl.h"
#include "cpu/committee_impl.h"
#include "cpu/kernels.h"
#include "cpu/kernels_impl.h"
#include "cpu/nearest_impl.h"

namespace deal {
namespace {

// constexpr: of a table for another processor nothing is run at start-up.
template <class L>
constexpr Kernels kernels_of(const char* name) {
  return {name,
          load_row,
          count_nonfinite,
          difficulty_row<L>,
          pixel_rows<L>,
          committee_row<L>,
          boundary_row,
          softmax_row<L>,
          attention_direct<L>,
          moments<L>,
          polynomial<L>,
          nearest_center<L>};
}

}  // namespace
}  // namespace deal
