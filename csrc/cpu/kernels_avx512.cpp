// The loops for AVX-512. All headers of other people are included before the target changes,
// so that none of their inline functions is compiled for a processor that may not be there.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#if !defined(__clang__)
// GCC 12's intrinsics pass an undefined register where the mask says that it is not used.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#endif

#include "cpu/kernels_table.h"
#include "cpu/lanes_avx512.h"

namespace deal {
namespace {

constexpr Kernels kAvx512Kernels = kernels_of<Avx512Lanes>("avx512");

}  // namespace
}  // namespace deal

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace deal {
const Kernels* avx512_kernels() { return &kAvx512Kernels; }
}  // namespace deal

#else

namespace deal {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace deal

#endif
