// The loops for any processor.
#include "cpu/kernels_table.h"
#include "cpu/lanes_scalar.h"

namespace deal {

const Kernels& portable_kernels() {
  static constexpr Kernels kernels = kernels_of<ScalarLanes>("portable");
  return kernels;
}

}  // namespace deal
