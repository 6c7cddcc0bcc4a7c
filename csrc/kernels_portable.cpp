// The loops for any processor.
#include "kernels_table.h"
#include "lanes_scalar.h"

namespace deal {

const Kernels& portable_kernels() {
  static constexpr Kernels kernels = kernels_of<ScalarLanes>("portable");
  return kernels;
}

}  // namespace deal
