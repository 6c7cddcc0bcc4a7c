// The loops for any processor.
#include "attention_impl.h"
#include "committee_impl.h"
#include "kernels_impl.h"
#include "lanes_scalar.h"
#include "nearest_impl.h"

namespace deal {

const Kernels& portable_kernels() {
  using L = ScalarLanes;
  static const Kernels kernels = {
      "portable",          load_row,     count_nonfinite,  lerp_rows<L>,     resize_row<L>,
      difficulty_row<L>,   pixel_row<L>, committee_row<L>, boundary_row,     softmax_row<L>,
      attention_direct<L>, moments<L>,   polynomial<L>,    nearest_center<L>};
  return kernels;
}

}  // namespace deal
