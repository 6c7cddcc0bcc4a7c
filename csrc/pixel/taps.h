// Where a resize samples, as PyTorch's interpolate(mode="bilinear", antialias=False).
#pragma once

#include <stdint.h>

#include "pixel/pixel_math.h"
#include "pixel/records.h"

namespace deal {
namespace {

struct Tap {
  int32_t first, second;
  float weight;
};

// Positions in double: in float a weight near the far edge would be off by 1e-5.
DEAL_INLINE Tap tap_of(int64_t i, int64_t n_in, int64_t n_out, bool align_corners) {
  const double scale = align_corners ? (n_out > 1 ? double(n_in - 1) / double(n_out - 1) : 0.0)
                                     : double(n_in) / double(n_out);
  double source = align_corners ? double(i) * scale : (double(i) + 0.5) * scale - 0.5;
  if (source < 0.0) source = 0.0;
  int64_t low = static_cast<int64_t>(source);
  if (low > n_in - 1) low = n_in - 1;
  const float part = static_cast<float>(source - double(low));
  // A neighbour that does not count is not read: whole steps stay within narrow windows.
  return {static_cast<int32_t>(low),
          static_cast<int32_t>(part > 0.0f && low < n_in - 1 ? low + 1 : low), part};
}

DEAL_INLINE Tap tap_at(Taps taps, uint32_t i) {
  return {taps.first[i], taps.second[i], taps.weight[i]};
}

}  // namespace

}  // namespace deal
