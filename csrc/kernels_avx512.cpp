// The loops for AVX-512. All headers of other people are included before the target changes,
// so that none of their inline functions is compiled for a processor that may not be there.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

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

#include "lanes_avx512.h"

#include "attention_impl.h"
#include "committee_impl.h"
#include "kernels_impl.h"
#include "nearest_impl.h"

namespace deal {
namespace {

const Kernels kAvx512Kernels = {"avx512",
                                load_row,
                                count_nonfinite,
                                lerp_rows<Avx512Lanes>,
                                resize_row<Avx512Lanes>,
                                difficulty_row<Avx512Lanes>,
                                pixel_row<Avx512Lanes>,
                                committee_row<Avx512Lanes>,
                                boundary_row,
                                softmax_row<Avx512Lanes>,
                                attention_direct<Avx512Lanes>,
                                moments<Avx512Lanes>,
                                polynomial<Avx512Lanes>,
                                nearest_center<Avx512Lanes>};

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
