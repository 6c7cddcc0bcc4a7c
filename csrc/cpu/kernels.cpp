#include "cpu/kernels.h"

#include <initializer_list>

#include "abi/deal.h"
#include "abi/failure.h"

namespace deal {
namespace {

// The loops for an instruction set; NULL where the compiler or the processor lacks it.
const Kernels* kernels_for(int32_t isa) {
  if (isa == DEAL_ISA_PORTABLE) return &portable_kernels();
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == DEAL_ISA_AVX2 && avx2) return avx2_kernels();
  if (isa == DEAL_ISA_AVX512 && avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return avx512_kernels();
  }
#endif
  if (isa == DEAL_ISA_NEON) return neon_kernels();
  return nullptr;
}

}  // namespace

const Kernels& choose_kernels(int32_t isa) {
  if (isa == DEAL_ISA_AUTO) {
    for (const int32_t best : {DEAL_ISA_AVX512, DEAL_ISA_AVX2, DEAL_ISA_NEON}) {
      if (const Kernels* kernels = kernels_for(best)) return *kernels;
    }
    return portable_kernels();
  }
  if (isa < DEAL_ISA_PORTABLE || isa > DEAL_ISA_NEON) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "isa %d is no deal_isa", isa);
  }
  const Kernels* kernels = kernels_for(isa);
  if (kernels == nullptr) {
    fail(DEAL_ERROR_UNSUPPORTED, "this processor, or this build, has no %s; 0 takes the best",
         isa == DEAL_ISA_AVX2   ? "AVX2 and FMA"
         : isa == DEAL_ISA_NEON ? "NEON of AArch64"
                                : "AVX-512 F, BW, DQ and VL");
  }
  return *kernels;
}

}  // namespace deal
