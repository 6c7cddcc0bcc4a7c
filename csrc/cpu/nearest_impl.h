// The squared distance of a row to its nearest center, written once over a lane type L.
#pragma once

#include "cpu/attention_impl.h"
#include "cpu/kernels.h"
#include "pixel/pixel_math.h"

namespace deal {
namespace {

// Adds sixteen columns of a row, times scale, to the sums of G neighbouring centers.
template <class L, int G>
DEAL_INLINE void add_squares(const float* row, typename L::F scale, const float* center,
                             int64_t stride, Sum16<L>* sums) {
  for (int k = 0; k < Sum16<L>::kParts; ++k) {
    const typename L::F a = L::load(row + k * L::width) * scale;
    for (int g = 0; g < G; ++g) {
      const typename L::F d = a - L::load(center + g * stride + k * L::width);
      sums[g].part[k] = fma_(d, d, sums[g].part[k]);
    }
  }
}

// The least squared distance of a row to G neighbouring centers. `tail` is the row's end, padded.
template <class L, int G>
DEAL_INLINE float least_square(const float* row, const float* tail, float scale, int64_t width,
                               const float* center, int64_t stride) {
  const typename L::F factor(scale);
  const int64_t whole = width / 16 * 16;
  Sum16<L> sums[G];
  for (int64_t i = 0; i < whole; i += 16) {
    add_squares<L, G>(row + i, factor, center + i, stride, sums);
  }
  if (whole < width) add_squares<L, G>(tail, factor, center + whole, stride, sums);
  float least = sums[0].total();
  for (int g = 1; g < G; ++g) least = min_(least, sums[g].total());
  return least;
}

template <class L>
float nearest_center(const float* row, float scale, int64_t width, const float* centers,
                     int64_t stride, int64_t* next, int64_t end, float bound, float enough) {
  constexpr int kGroup = 4;  // a row is read once for so many
  float tail[16] = {};
  const int64_t whole = width / 16 * 16;
  for (int64_t i = whole; i < width; ++i) tail[i - whole] = row[i];
  int64_t c = *next;
  for (; c + kGroup <= end && bound >= enough; c += kGroup) {
    bound =
        min_(bound, least_square<L, kGroup>(row, tail, scale, width, centers + c * stride, stride));
  }
  for (; c < end && bound >= enough; ++c) {
    bound = min_(bound, least_square<L, 1>(row, tail, scale, width, centers + c * stride, stride));
  }
  *next = c;
  return bound;
}

}  // namespace
}  // namespace deal
