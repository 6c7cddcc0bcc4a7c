#include "cpu/kernels.h"

#include <initializer_list>

#include "abi/deal.h"
#include "abi/failure.h"
#include "cpu/processor.h"

namespace deal {
namespace {

// The loops for an instruction set; NULL where the compiler or the processor lacks it.
const Kernels* kernels_for(int32_t isa) {
  if (isa == DEAL_ISA_PORTABLE) return &portable_kernels();
  if (isa == DEAL_ISA_AVX2 && processor().avx2) return avx2_kernels();
  if (isa == DEAL_ISA_AVX512 && processor().avx512) return avx512_kernels();
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
