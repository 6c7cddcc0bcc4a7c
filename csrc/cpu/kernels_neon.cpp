// The loops for NEON, which every AArch64 processor has.
#include "cpu/kernels.h"

#if defined(__aarch64__)
#include "cpu/kernels_table.h"
#include "cpu/lanes_neon.h"

namespace deal {

const Kernels* neon_kernels() {
  static constexpr Kernels kernels = kernels_of<NeonLanes>("neon");
  return &kernels;
}

}  // namespace deal

#else

namespace deal {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace deal

#endif
