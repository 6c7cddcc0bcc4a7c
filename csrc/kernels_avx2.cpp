// The loops for AVX2 and FMA. All headers of other people are included before the target changes,
// so that none of their inline functions is compiled for a processor that may not be there.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "lanes_avx2.h"

#include "attention_impl.h"
#include "committee_impl.h"
#include "kernels_impl.h"
#include "nearest_impl.h"

namespace deal {
namespace {

const Kernels kAvx2Kernels = {"avx2",
                              load_row,
                              count_nonfinite,
                              lerp_rows<Avx2Lanes>,
                              resize_row<Avx2Lanes>,
                              difficulty_row<Avx2Lanes>,
                              pixel_row<Avx2Lanes>,
                              committee_row<Avx2Lanes>,
                              boundary_row,
                              softmax_row<Avx2Lanes>,
                              attention_direct<Avx2Lanes>,
                              moments<Avx2Lanes>,
                              polynomial<Avx2Lanes>,
                              nearest_center<Avx2Lanes>};

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
