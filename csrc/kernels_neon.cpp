// The loops for NEON, which every AArch64 processor has.
#include "kernels.h"

#if defined(__aarch64__)
#include "lanes_neon.h"

#include "attention_impl.h"
#include "committee_impl.h"
#include "kernels_impl.h"
#include "nearest_impl.h"

namespace deal {

const Kernels* neon_kernels() {
  using L = NeonLanes;
  static const Kernels kernels = {
      "neon",        load_row,          count_nonfinite,     lerp_rows<L>,
      resize_row<L>, difficulty_row<L>, pixel_row<L>,        committee_row<L>,
      boundary_row,  softmax_row<L>,    attention_direct<L>, moments<L>,
      polynomial<L>, nearest_center<L>};
  return &kernels;
}

}  // namespace deal

#else

namespace deal {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace deal

#endif
