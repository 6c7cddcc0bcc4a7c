// The loops for AVX2 and FMA. All headers of other people are included before the target changes,
// so that none of their inline functions is compiled for a processor that may not be there.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "cpu/kernels_table.h"
#include "cpu/lanes_avx2.h"

namespace deal {
namespace {

constexpr Kernels kAvx2Kernels = kernels_of<Avx2Lanes>("avx2");

}  // namespace
}  // namespace deal

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace deal {
const Kernels* avx2_kernels() { return &kAvx2Kernels; }
}  // namespace deal

#else

namespace deal {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace deal

#endif
